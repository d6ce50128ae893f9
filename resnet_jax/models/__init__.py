"""From `config.model` to a network; what the config names is looked up and checked here."""

from collections.abc import Collection

import jax.numpy as jnp
import ml_collections
from flax import linen as nn

from resnet_jax import errors
from resnet_jax.config import default_config
from resnet_jax.config.unread import UNREAD
from resnet_jax.errors import UserError
from resnet_jax.models import layers, orders, resnet
from resnet_jax.models.heads import Classifier, Map
from resnet_jax.models.initializers import KERNEL
from resnet_jax.models.orders import AFTER_ADD, after_add, layer, norm
from resnet_jax.models.resnet import ResNet, by_unit
from resnet_jax.models.shortcuts import PROJECTIONS, SHORTCUTS, shortcut
from resnet_jax.models.units import RESIDUALS, UNITS, residual, unit
from resnet_jax.registry import Registry

__all__ = [
  "Classifier",
  "Map",
  "ResNet",
  "after_add",
  "build",
  "by_unit",
  "check",
  "layer",
  "norm",
  "residual",
  "shortcut",
  "unit",
]

CHOICES: dict[str, Collection[str]] = {
  "family": resnet.WIDTHS,
  "unit": UNITS,
  "shortcut": SHORTCUTS,
  "after_add": AFTER_ADD,
  "residual": RESIDUALS,
  "projection": PROJECTIONS,
  "stride_on": ("1x1", "3x3"),
  "pool_padding": resnet.POOL_PADDING,
  "init": KERNEL,
  "remat": resnet.REMAT,
  "dtype": ("float32", "bfloat16", "float64"),
}


def check(config: ml_collections.ConfigDict) -> None:
  """Raises a UserError for a `config.model` that names no network."""
  for key, known in CHOICES.items():
    if config[key] not in known:
      error = str(errors.unknown(f"model.{key}", config[key], known))
      own = f"; one of your own is registered by the --config file or cell with its @{key}"
      raise UserError(error + own if isinstance(known, Registry) else error)
  orders.check(config.after_add)
  if config.output_stride not in resnet.OUTPUT_STRIDES:
    raise UserError(f"model.output_stride={config.output_stride} must be 32, 16 or 8")
  defaults = default_config().model
  for name, (by, values, reader) in UNREAD.items():
    key = name.removeprefix("model.")
    idle = by == "model.shortcut" and config.shortcut in values
    if idle and reader and config[key] != defaults[key]:
      raise UserError(
        f"model.{key}={config[key]} does nothing with shortcut={config.shortcut}; it belongs to "
        f"{reader}"
      )
  if config.shortcut == "scaling" and config.shortcut_scale == config.residual_scale == 1:
    raise UserError(
      "model.shortcut=scaling with model.shortcut_scale=1 and model.residual_scale=1 is the "
      "identity; set one of them, such as shortcut_scale=0.5"
    )
  if not 0 <= config.dropout_rate < 1:
    raise UserError(f"model.dropout_rate={config.dropout_rate} must be at least 0 and below 1")
  if config.unroll < 1:
    raise UserError(f"model.unroll={config.unroll} must be 1 or more")
  if not 0 <= config.norm.decay < 1 or config.norm.epsilon <= 0:
    raise UserError(
      f"model.norm.decay={config.norm.decay} must be in [0, 1) and "
      f"model.norm.epsilon={config.norm.epsilon} above 0"
    )
  resnet.refuse(config)
  resnet.units_per_stage(config)


def parts(config: ml_collections.ConfigDict) -> list[str]:
  """The parts of a network from its input on, as its parameters name them."""
  stages = len(resnet.units_per_stage(config))
  return ["stem", *(f"stage{index + 1}" for index in range(stages))]


def held(config: ml_collections.ConfigDict, frozen: tuple[str, ...] = ()) -> tuple[str, ...]:
  """What the parameters that do not train begin with, as `optim.build` takes it: the `frozen`
  parts, and every BN if `norm.frozen`. By name: in the stacked units BN's scale has two axes.
  """
  return (*frozen, layers.BN) if config.norm.frozen else frozen


def build(
  config: ml_collections.ConfigDict,
  classes: int = 0,
  frozen: tuple[str, ...] = (),
  head: nn.Module | None = None,
) -> ResNet:
  """The network of `config.model`, of which the `frozen` parts do not train.

  Args:
    config: `config.model`.
    classes: how many the classifier tells apart.
    frozen: as `ResNet` has it.
    head: in the classifier's place: see `models/heads.py`.

  Raises:
    UserError: a name, a depth or a combination that makes no network.
  """
  check(config)
  if config.dtype == "float64" and jnp.zeros((), float).dtype != jnp.float64:
    raise UserError("model.dtype='float64' needs 64-bit JAX: set JAX_ENABLE_X64=1")
  head = head or Classifier(classes, config.init, name="classifier")
  return ResNet(ml_collections.FrozenConfigDict(config), head, frozen)
