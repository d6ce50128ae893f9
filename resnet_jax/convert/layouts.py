"""How other frameworks name the layers of these nets, and how their channels lie."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from resnet_jax.models import resnet
from resnet_jax.models.units import UNITS

STAGES = "stage{}"


class Module(NamedTuple):
  """A layer with weights, where it stands and what it is to others.

  `reads` and `writes` are the stages whose residual stream its channels are; 0: inner ones.
  """

  kind: str  # conv, bn, dense
  path: tuple[str, ...]  # in the parameters
  unit: int | None  # of its stage, from 0; None outside of stages
  role: str  # conv1, bn1, projection, projection_bn, classifier
  stage: int  # from 1; 0: the stem
  shape: tuple[int, ...]  # of the kernel, HWIO or IO; of a vector
  reads: int = 0
  writes: int = 0


def modules(config, classes: int, inputs: int = 3) -> Iterator[Module]:
  """The layers of a net with original units, identity shortcuts and projection A or B."""
  widths = resnet.WIDTHS[config.family]
  channels, kernel = widths[0], 3 if config.family == "cifar" else 7
  yield Module(
    "conv", ("stem", "conv"), None, "conv1", 0, (kernel, kernel, inputs, channels), writes=1
  )
  yield Module("bn", ("stem", "bn"), None, "bn1", 0, (channels,), writes=1)
  for stage, units in enumerate(resnet.units_per_stage(config), start=1):
    for unit in range(units):
      yield from _unit(config, stage, unit, channels)
      channels = UNITS[config.unit](widths[stage - 1])[-1][1]
  yield Module(
    "dense", ("classifier",), None, "classifier", 0, (channels, classes), reads=len(widths)
  )


def _unit(config, stage: int, unit: int, channels: int) -> Iterator[Module]:
  """F's layers, then the projection's; `channels` are those of the unit's input."""
  where = (STAGES.format(stage), "rest" if unit else "first")
  convolutions = UNITS[config.unit](resnet.WIDTHS[config.family][stage - 1])
  before, features = stage if unit else max(stage - 1, 1), convolutions[-1][1]
  inputs = channels
  for number, (kernel, outputs) in enumerate(convolutions, start=1):
    reads = before if number == 1 else 0
    writes = stage if number == len(convolutions) else 0
    shape = (kernel, kernel, inputs, outputs)
    name = f"conv{number}"
    yield Module("conv", (*where, name), unit, name, stage, shape, reads, writes)
    yield Module(
      "bn", (*where, f"bn{number}"), unit, f"bn{number}", stage, (outputs,), writes=writes
    )
    inputs = outputs
  if unit == 0 and channels != features and config.projection == "B":
    shape, path = (1, 1, channels, features), (*where, "projection")
    yield Module("conv", path, unit, "projection", stage, shape, before, stage)
    path = (*where, "projection_bn")
    yield Module("bn", path, unit, "projection_bn", stage, (features,), writes=stage)


# A layer's field of ours, and in which tree; of theirs; and ours as theirs is laid out.
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
# The axes of a kernel of ours in the order of theirs, and back.
THEIRS = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
OURS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def _torchvision(module: Module) -> str:
  if module.role == "classifier":
    return "fc"
  role = {"projection": "downsample.0", "projection_bn": "downsample.1"}
  name = role.get(module.role, module.role)
  return f"layer{module.stage}.{module.unit}.{name}" if module.stage else name


def _cifar(module: Module) -> str:
  return "linear" if module.role == "classifier" else _torchvision(module)


def _torch7(module: Module) -> str:
  """Sequential containers by position, as fb.resnet.torch nests them."""
  if not module.stage:
    return {"conv1": "0", "bn1": "1", "classifier": "10"}[module.role]
  unit = f"{module.stage + 3}.{module.unit}.0"
  if module.role.startswith("projection"):
    return f"{unit}.1.{int(module.role.endswith('bn'))}"
  kind, number = module.role[:-1], int(module.role[-1])
  return f"{unit}.0.{3 * (number - 1) + (kind == 'bn')}"  # conv, BN, ReLU, conv ...


def _caffe(letters: bool) -> Callable[[Module], str]:
  """ResNet-50 counts the units of a stage by letters; 101 and 152 do in stages 1 and 4 alone."""

  def name(module: Module) -> str:
    if not module.stage:
      return {"conv1": "conv1", "bn1": "bn_conv1", "classifier": "fc1000"}[module.role]
    number = module.unit or 0
    unit = "abcdef"[number] if letters or module.stage in (1, 4) or not number else f"b{number}"
    branch = "branch1" if "projection" in module.role else f"branch2{'_abc'[int(module.role[-1])]}"
    kind = "bn" if "bn" in module.role else "res"
    return f"{kind}{module.stage + 1}{unit}_{branch}"

  return name


class Layout(NamedTuple):
  """Names, which nets have them, and what a file says nothing of: strides, pools, normalization."""

  family: str
  name: Callable[[Module], str]
  model: dict[str, str]
  normalize: str = "imagenet"
  depths: tuple[int, ...] = ()  # of its nets, where not all are

  @property
  def classifier(self) -> str:
    """The name of the classifier."""
    return self.name(Module("dense", ("classifier",), None, "classifier", 0, ()))


TORCH = {"stride_on": "3x3"}
CAFFE = {"stride_on": "1x1", "pool_padding": "end"}
LAYOUTS = {
  "torchvision": Layout("imagenet", _torchvision, TORCH),
  "cifar": Layout("cifar", _cifar, {}),
  "cifar, fc": Layout("cifar", _torchvision, {}),
  "torch7": Layout("imagenet", _torch7, TORCH),
  "caffe": Layout("imagenet", _caffe(letters=True), CAFFE, "caffe", (50,)),
  "caffe, numbered": Layout("imagenet", _caffe(letters=False), CAFFE, "caffe", (101, 152)),
}

PADDINGS = ("both", "end")


def order(config, padding: str) -> dict[int, np.ndarray]:
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
