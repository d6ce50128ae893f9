"""The layers of a net as its parameters name them, and the table that joins them to a layout."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import models
from resnet_jax.convert.layouts import Layout
from resnet_jax.convert.translate import Entry
from resnet_jax.errors import UserError
from resnet_jax.models import resnet
from resnet_jax.models.units import UNITS


class Module(NamedTuple):
  """A layer with weights, where it stands and what it is to others.

  `reads` and `writes` are the stages whose residual stream its channels are; 0: inner ones.
  """

  kind: str  # conv, bn, dense
  path: tuple[str, ...]  # in the parameters
  stage: int  # from 1; 0: the stem and the classifier
  unit: int  # of its stage, from 0
  role: str  # conv1, bn1, projection, projection_bn, classifier
  shape: tuple[int, ...]  # of the kernel, HWIO or IO; of a vector
  reads: int = 0
  writes: int = 0


def modules(config: Any, inputs: int, classes: int) -> Iterator[Module]:
  """The layers of a `config.model` with original units, identity shortcuts, projection A or B.

  Args:
    config: `config.model`.
    inputs: channels of an image.
    classes: outputs of the classifier.
  """
  widths = resnet.WIDTHS[config.family]
  channels, kernel = widths[0], 3 if config.family == "cifar" else 7
  shape = (kernel, kernel, inputs, channels)
  yield Module("conv", ("stem", "conv"), 0, 0, "conv1", shape, writes=1)
  yield Module("bn", ("stem", "bn"), 0, 0, "bn1", (channels,), writes=1)
  for stage, units in enumerate(resnet.units_per_stage(config), start=1):
    for unit in range(units):
      yield from _unit(config, stage, unit, channels)
      channels = UNITS[config.unit](widths[stage - 1])[-1][1]
  weights = (channels, classes)
  yield Module("dense", ("classifier",), 0, 0, "classifier", weights, reads=len(widths))


def _unit(config: Any, stage: int, unit: int, channels: int) -> Iterator[Module]:
  """F's layers, then the projection's; `channels` are those of the unit's input."""
  where = (f"stage{stage}", "rest" if unit else "first")
  convolutions = UNITS[config.unit](resnet.WIDTHS[config.family][stage - 1])
  before, features = stage if unit else max(stage - 1, 1), convolutions[-1][1]
  inputs = channels
  for number, (kernel, outputs) in enumerate(convolutions, start=1):
    reads = before if number == 1 else 0
    writes = stage if number == len(convolutions) else 0
    conv, bn, shape = f"conv{number}", f"bn{number}", (kernel, kernel, inputs, outputs)
    yield Module("conv", (*where, conv), stage, unit, conv, shape, reads, writes)
    yield Module("bn", (*where, bn), stage, unit, bn, (outputs,), writes=writes)
    inputs = outputs
  if unit == 0 and channels != features and config.projection == "B":
    conv, bn, shape = "projection", "projection_bn", (1, 1, channels, features)
    yield Module("conv", (*where, conv), stage, unit, conv, shape, before, stage)
    yield Module("bn", (*where, bn), stage, unit, bn, (features,), writes=stage)


# A layer's field of ours, and in which tree, and of theirs.
FIELDS = {
  "conv": [("params", "kernel", "weight")],
  "bn": [
    ("params", "scale", "weight"),
    ("params", "bias", "bias"),
    ("batch_stats", "mean", "running_mean"),
    ("batch_stats", "var", "running_var"),
  ],
  "dense": [("params", "kernel", "weight"), ("params", "bias", "bias")],
}


def entries(layout: Layout, config: Any, inputs: int, classes: int, padding: str) -> list[Entry]:
  """The table of a `config.model` under a layout; the arguments are those of `modules`, and where
  the others have the zeros of projection A: both or end.
  """
  orders = order(config, padding)
  return [
    Entry(
      f"{layout.name(module.stage, module.unit, module.role)}.{theirs}",
      tree,
      (*module.path, ours),
      module.unit,
      module.shape if ours == "kernel" else module.shape[-1:],
      orders.get(module.reads) if ours == "kernel" else None,
      orders.get(module.writes),
      _bias(layout, module) if ours == "mean" else "",
    )
    for module in modules(config, inputs, classes)
    for tree, ours, theirs in FIELDS[module.kind]
  ]


def _bias(layout: Layout, module: Module) -> str:
  """How the bias of the convolution before a BN is named, should it have one."""
  role = {"projection_bn": "projection"}.get(module.role, module.role.replace("bn", "conv"))
  return f"{layout.name(module.stage, module.unit, role)}.bias"


def order(config: Any, padding: str) -> dict[int, np.ndarray]:
  """Where each channel of ours lies in theirs, by stage; empty where all lie alike.

  Projection A puts the zeros behind the channels; many CIFAR nets put half of them before. That is
  the same net with the channels of its residual stream in another order.
  """
  if config.projection != "A" or padding == "end":
    return {}
  widths = resnet.WIDTHS[config.family]
  orders = {1: np.arange(widths[0])}
  for stage, (before, after) in enumerate(itertools.pairwise(widths), start=2):
    known = orders[stage - 1] + (after - before) // 2
    orders[stage] = np.concatenate([known, np.setdiff1d(np.arange(after), known)])
  return orders


def check(config: Any) -> None:
  """Raises a UserError for a config that names no net, or one that others have no names for."""
  config_lib.check(config)
  model = config.model
  expected: dict[str, tuple[str, ...]] = {
    "name": ("resnet",),
    "shortcut": ("identity",),
    "after_add": ("original",),
    "residual": ("always",),
  }
  if model.family == "cifar":
    expected |= {"projection": ("A", "B"), "unit": ("basic",)}
  else:
    expected |= {"projection": ("B",)}
  if config.task.name != "classification":
    raise UserError(
      f"config.task.name={config.task.name!r}: weights files hold networks of classification"
    )
  for key, values in expected.items():
    if model[key] not in values:
      raise UserError(
        f"config.model.{key}={model[key]!r}: others have names for the layers of imagenet nets "
        "with identity shortcuts, original units and projection B, and of cifar nets with basic "
        "units and projection A or B"
      )
  models.check(model)
