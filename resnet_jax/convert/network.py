"""The layers of a net as its parameters name them, and the table that joins them to a layout."""

import itertools
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import models
from resnet_jax.convert.layouts import Layout
from resnet_jax.convert.translate import Entry
from resnet_jax.errors import UserError
from resnet_jax.models import resnet
from resnet_jax.models.units import UNITS


class Layer(NamedTuple):
  """A convolution with its BN, or the classifier: where it stands and what it is to others.

  `reads` and `writes` are the stages whose residual stream its channels are; 0: inner ones.
  """

  stage: int  # from 1; 0: the stem and the classifier
  unit: int  # of its stage, from 0
  roles: tuple[str, ...]  # (conv1, bn1), (projection, projection_bn) ...; (classifier,)
  shape: tuple[int, ...]  # of the kernel, HWIO or IO
  reads: int = 0
  writes: int = 0


def layers(config: Any, inputs: int, classes: int) -> Iterator[Layer]:
  """The layers of a `config.model` with original units, identity shortcuts, projection A or B.

  Args:
    config: `config.model`.
    inputs: channels of an image.
    classes: outputs of the classifier.
  """
  widths = resnet.WIDTHS[config.family]
  channels, kernel = widths[0], 3 if config.family == "cifar" else 7
  yield Layer(0, 0, ("conv1", "bn1"), (kernel, kernel, inputs, channels), writes=1)
  stages = zip(resnet.units_per_stage(config), widths, strict=True)
  for stage, (units, width) in enumerate(stages, start=1):
    convolutions = UNITS[config.unit](width)
    for unit in range(units):
      before, features = stage if unit else max(stage - 1, 1), channels
      for number, (kernel, outputs) in enumerate(convolutions, start=1):
        roles, shape = (f"conv{number}", f"bn{number}"), (kernel, kernel, features, outputs)
        reads = before if number == 1 else 0
        writes = stage if number == len(convolutions) else 0
        yield Layer(stage, unit, roles, shape, reads, writes)
        features = outputs
      if unit == 0 and channels != features and config.projection == "B":
        roles = ("projection", "projection_bn")
        yield Layer(stage, unit, roles, (1, 1, channels, features), before, stage)
      channels = features
  yield Layer(0, 0, ("classifier",), (channels, classes), reads=len(widths))


# The fields of a layer: of which of its roles, in which tree of ours, our name and theirs.
FIELDS = [
  (0, "params", "kernel", "weight"),
  (1, "params", "scale", "weight"),
  (1, "params", "bias", "bias"),
  (1, "batch_stats", "mean", "running_mean"),
  (1, "batch_stats", "var", "running_var"),
]
OF_CLASSIFIER = [(0, "params", "kernel", "weight"), (0, "params", "bias", "bias")]
OUTSIDE = {"conv1": ("stem", "conv"), "bn1": ("stem", "bn"), "classifier": ("classifier",)}


def entries(layout: Layout, config: Any, inputs: int, classes: int, padding: str) -> list[Entry]:
  """The table of a `config.model` under a layout; the arguments are those of `layers`, and where
  the others have the zeros of projection A: both or end.
  """
  orders = order(config, padding)
  return [
    Entry(
      f"{layout.name(layer.stage, layer.unit, layer.roles[which])}.{theirs}",
      tree,
      (*_path(layer.stage, layer.unit, layer.roles[which]), ours),
      layer.unit,
      layer.shape if ours == "kernel" else layer.shape[-1:],
      orders.get(layer.reads) if ours == "kernel" else None,
      orders.get(layer.writes),
      f"{layout.name(layer.stage, layer.unit, layer.roles[0])}.bias" if ours == "mean" else "",
    )
    for layer in layers(config, inputs, classes)
    for which, tree, ours, theirs in (FIELDS if len(layer.roles) == 2 else OF_CLASSIFIER)
  ]


def _path(stage: int, unit: int, role: str) -> tuple[str, ...]:
  """Where a layer stands in our trees, as `Layout.name` says it of others' files."""
  return (f"stage{stage}", "rest" if unit else "first", role) if stage else OUTSIDE[role]


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
  model, cifar = config.model, config.model.family == "cifar"
  expected: dict[str, Container[str]] = {
    "name": ("resnet",),
    "shortcut": ("identity",),
    "after_add": ("original",),
    "residual": ("always",),
    "projection": ("A", "B") if cifar else ("B",),
    "unit": ("basic",) if cifar else UNITS,
  }
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
