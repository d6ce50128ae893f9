"""How other frameworks name the layers of these nets, and which net a file's names are of.

Nothing here needs JAX: a config file may ask what a weights file holds.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
  """Names, and what a file says nothing of: strides, pools, normalization.

  `name(stage, unit, role)` is a layer's name. Stages count from 1, units from 0; the stem and the
  classifier have stage 0. The roles are conv1, bn1 ..., projection, projection_bn, classifier.
  """

  name: Callable[[int, int, str], str]
  own: re.Pattern[str]  # what names of the stem, of units and of the classifier begin with
  model: dict[str, str] = {"stride_on": "3x3"}
  normalize: str = "imagenet"

  def weight(self, stage: int, unit: int, role: str) -> str:
    """The name of a layer's weights."""
    return f"{self.name(stage, unit, role)}.weight"

  @property
  def classifier(self) -> str:
    """The name of the classifier."""
    return self.name(0, 0, "classifier")


def _torchvision(projection: str, classifier: str) -> Callable[[int, int, str], str]:
  """Stages layer1, layer2 ...; of the projection and the classifier there are two names each."""
  others = {"projection": f"{projection}.0", "projection_bn": f"{projection}.1"}
  others["classifier"] = classifier

  def name(stage: int, unit: int, role: str) -> str:
    layer = others.get(role, role)
    return f"layer{stage}.{unit}.{layer}" if stage else layer

  return name


def _torch7(stage: int, unit: int, role: str) -> str:
  """Sequential containers by position, as fb.resnet.torch nests them."""
  if not stage:
    return {"conv1": "0", "bn1": "1", "classifier": "10"}[role]
  place = f"{stage + 3}.{unit}.0"
  if role.startswith("projection"):
    return f"{place}.1.{int(role.endswith('bn'))}"
  kind, number = role[:-1], int(role[-1])
  return f"{place}.0.{3 * (number - 1) + (kind == 'bn')}"  # conv, BN, ReLU, conv ...


def _caffe(numbered: tuple[int, ...]) -> Callable[[int, int, str], str]:
  """Units of a stage are counted by letters; in the longer stages of the deeper nets by numbers."""

  def name(stage: int, unit: int, role: str) -> str:
    if not stage:
      return {"conv1": "conv1", "bn1": "bn_conv1", "classifier": "fc1000"}[role]
    counted = f"b{unit}" if unit and stage in numbered else chr(ord("a") + unit)
    branch = "branch1" if role.startswith("projection") else f"branch2{'_abc'[int(role[-1])]}"
    return f"{'bn' if 'bn' in role else 'res'}{stage + 1}{counted}_{branch}"

  return name


TORCH = re.compile(r"(conv1|bn1|relu|act1|maxpool|layer\d+|avgpool|global_pool|fc|linear)\b")
CAFFE = (
  re.compile(r"(conv1|bn_conv1|(res|bn)\d\w*|fc1000)\."),
  {"stride_on": "1x1", "pool_padding": "end"},
  "caffe",
)
# Of layouts that fit a file equally well the first is taken.
LAYOUTS = {
  "torchvision": Layout(_torchvision("downsample", "fc"), TORCH),
  "cifar": Layout(_torchvision("downsample", "linear"), TORCH),
  "shortcut": Layout(_torchvision("shortcut", "linear"), TORCH),
  "shortcut, fc": Layout(_torchvision("shortcut", "fc"), TORCH),
  "torch7": Layout(_torch7, re.compile(r"\d+\.")),
  "caffe": Layout(_caffe(numbered=()), *CAFFE),  # ResNet-50
  "caffe, numbered": Layout(_caffe(numbered=(2, 3)), *CAFFE),  # ResNet-101, 152
}
PADDINGS = ("both", "end")


class Net(NamedTuple):
  """What the tensors of a file tell of its net."""

  layout: Layout
  family: str
  unit: str
  units: tuple[int, ...]  # of each stage
  projection: str  # A or B
  channels: int  # of an image
  classes: int | None  # None: the file has no classifier

  @property
  def depth(self) -> int:
    """Layers on the main path; other numbers of units may come to the same."""
    return 2 + {"basic": 2, "bottleneck": 3}[self.unit] * sum(self.units)


def recognize(tensors: Mapping[str, np.ndarray]) -> Net | None:
  """The net whose layers the tensors are named for; None where they are of no layout."""

  def parts(candidate: tuple[Layout, tuple[int, ...]]) -> tuple[int, bool, bool]:
    """Layouts may differ only in the names of the classifier and of the projections."""
    layout, units = candidate
    return sum(units), _classes(layout, tensors) > 0, _projects(layout, units, tensors)

  candidates = [(layout, _units(layout, tensors)) for layout in LAYOUTS.values()]
  layout, units = max(candidates, key=parts)
  if not units:
    return None
  stem = np.shape(tensors.get(layout.weight(0, 0, "conv1"), ()))
  family = "cifar" if len(units) == 3 and stem[2:] != (7, 7) else "imagenet"
  third = any(layout.weight(1, unit, "conv3") in tensors for unit in range(units[0]))
  return Net(
    layout,
    family,
    "bottleneck" if third else "basic",
    units,
    "B" if family == "imagenet" or _projects(layout, units, tensors) else "A",
    stem[1] if len(stem) == 4 else 3,
    _classes(layout, tensors) or None,
  )


def _units(layout: Layout, names: Mapping[str, np.ndarray]) -> tuple[int, ...]:
  """How many units each stage has: those of which one of the first two convolutions is there."""

  def present(stage, unit):
    return any(layout.weight(stage, unit, role) in names for role in ("conv1", "conv2"))

  def count(stage):
    return next(unit for unit in itertools.count() if not present(stage, unit))

  return tuple(itertools.takewhile(bool, map(count, itertools.count(1))))


def _projects(layout: Layout, units: tuple[int, ...], names: Mapping[str, np.ndarray]) -> bool:
  """Whether any stage begins with a projection."""
  return any(layout.weight(stage + 1, 0, "projection") in names for stage in range(len(units)))


def _classes(layout: Layout, tensors: Mapping[str, np.ndarray]) -> int:
  """How many outputs the classifier has; 0 where there is none."""
  names = (f"{layout.classifier}.weight", f"{layout.classifier}.bias")
  shapes = (tensors[name].shape for name in names if name in tensors)
  return next((shape[0] for shape in shapes if shape), 0)
