"""From `config.model` to a network; what the config names is looked up and checked here."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import ml_collections
from flax import linen as nn

from resnet_jax import errors
from resnet_jax.config import leaves
from resnet_jax.config.setting import Setting
from resnet_jax.config.settings import SETTINGS, idle
from resnet_jax.errors import UserError
from resnet_jax.models import layers, orders, resnet
from resnet_jax.models.heads import Classifier, Map, Network
from resnet_jax.models.orders import AFTER_ADD, after_add, layer, norm
from resnet_jax.models.plain import Plain
from resnet_jax.models.resnet import ResNet, by_unit
from resnet_jax.models.shortcuts import SHORTCUTS, shortcut
from resnet_jax.models.units import RESIDUALS, UNITS, residual, unit
from resnet_jax.registry import Registry

__all__ = [
  "MODELS",
  "Classifier",
  "Map",
  "Network",
  "Plain",
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

# Functions of `config.model`, the head and the frozen parts; they return a module that has the
# attributes of a `Network` and is applied as one.
MODELS = Registry("model", "model.name")
_TABLES = {table.key: table for table in (MODELS, UNITS, SHORTCUTS, AFTER_ADD, RESIDUALS)}


def check(config: ml_collections.ConfigDict) -> None:
  """Raises a UserError for a `config.model` that names no network."""
  values = leaves(config, "model.")
  rows = {key: row for key, row in SETTINGS.items() if key in values}
  for key, row in rows.items():
    if key in _TABLES:
      _TABLES[key].find(values[key])
    elif row.choices and values[key] not in row.choices:
      raise errors.unknown(key, values[key], row.choices)
  if config.name == "resnet":
    _check_shortcut(rows, values)
  for key, row in rows.items():
    for limit in row.checks:
      if not limit.holds(values[key]):
        raise UserError(f"{key}={values[key]} must be {limit.text}")
  if config.name == "resnet":
    orders.check(config.after_add)
    resnet.refuse(config)
    resnet.units_per_stage(config)


def _check_shortcut(rows: Mapping[str, Setting], values: Mapping[str, Any]) -> None:
  shortcut = values["model.shortcut"]
  for key, row in rows.items():
    belongs = row.belongs if values[key] != row.default and idle(row, values) else None
    if belongs and belongs.to == "model.shortcut" and belongs.text:
      raise UserError(
        f"{key}={values[key]} does nothing with shortcut={shortcut}; it belongs to {belongs.text}"
      )
  scales = values["model.shortcut_scale"], values["model.residual_scale"]
  if shortcut == "scaling" and scales == (1, 1):
    raise UserError(
      "model.shortcut=scaling with model.shortcut_scale=1 and model.residual_scale=1 is the "
      "identity; set one of them, such as shortcut_scale=0.5"
    )


def parts(config: ml_collections.ConfigDict) -> list[str]:
  """The parts of a network from its input on, as its parameters name them."""
  if config.name != "resnet":
    return []  # not known
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
) -> Any:
  """The network of `config.model`, of which the `frozen` parts do not train.

  Args:
    config: `config.model`.
    classes: how many the classifier tells apart.
    frozen: as `Network` has it.
    head: in the classifier's place: see `models/heads.py`.

  Raises:
    UserError: a name, a depth or a combination that makes no network.
  """
  check(config)
  if config.dtype == "float64" and jnp.zeros((), float).dtype != jnp.float64:
    raise UserError("model.dtype='float64' needs 64-bit JAX: set JAX_ENABLE_X64=1")
  head = head or Classifier(classes, config.init, name="classifier")
  return MODELS.find(config.name)(ml_collections.FrozenConfigDict(config), head, frozen)


MODELS("resnet")(ResNet)
MODELS("plain")(Plain)
