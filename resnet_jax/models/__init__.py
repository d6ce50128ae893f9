"""From `config.model` to a network; what the config names is looked up and checked here."""

from collections.abc import Collection

import jax.numpy as jnp
import ml_collections

from resnet_jax import errors
from resnet_jax.config import UNREAD, default_config
from resnet_jax.errors import UserError
from resnet_jax.models import resnet
from resnet_jax.models.initializers import KERNEL
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.shortcuts import PROJECTIONS, SHORTCUTS, shortcut
from resnet_jax.models.units import AFTER_ADD, UNITS, unit

__all__ = ["ResNet", "build", "check", "shortcut", "unit"]

CHOICES: dict[str, Collection[str]] = {
  "family": resnet.WIDTHS,
  "unit": UNITS,
  "shortcut": SHORTCUTS,
  "after_add": AFTER_ADD,
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
      raise UserError(error + own if key in ("shortcut", "unit") else error)
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


def build(config: ml_collections.ConfigDict, classes: int, frozen: tuple[str, ...] = ()) -> ResNet:
  """The network of `config.model`, of which the `frozen` parts do not train.

  Raises:
    UserError: a name, a depth or a combination that makes no network.
  """
  check(config)
  if config.dtype == "float64" and jnp.zeros((), float).dtype != jnp.float64:
    raise UserError("model.dtype='float64' needs 64-bit JAX: set JAX_ENABLE_X64=1")
  return ResNet(ml_collections.FrozenConfigDict(config), classes, frozen)
