"""How other frameworks name the layers of these nets, and which net a file's names are of.

Nothing here needs JAX: a config file may ask what a weights file holds.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

FAMILIES = {3: "cifar", 4: "imagenet"}  # by the number of stages


class Layout(NamedTuple):
  """Names, and what a file says nothing of: strides, pools, normalization.

  `name(stage, unit, role)` is a layer's name. Stages count from 1, units from 0; the stem and the
  classifier have stage 0. The roles are conv1, bn1 ..., projection, projection_bn, classifier.
  """

  name: Callable[[int, int, str], str]
  model: dict[str, str]
  normalize: str = "imagenet"

  @property
  def classifier(self) -> str:
    """The name of the classifier."""
    return self.name(0, 0, "classifier")


def _torchvision(stage: int, unit: int, role: str) -> str:
  role = {"projection": "downsample.0", "projection_bn": "downsample.1"}.get(role, role)
  return f"layer{stage}.{unit}.{role}" if stage else {"classifier": "fc"}.get(role, role)


def _cifar(stage: int, unit: int, role: str) -> str:
  return "linear" if role == "classifier" else _torchvision(stage, unit, role)


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


TORCH = {"stride_on": "3x3"}
CAFFE = {"stride_on": "1x1", "pool_padding": "end"}
LAYOUTS = {
  "torchvision": Layout(_torchvision, TORCH),
  "cifar": Layout(_cifar, TORCH),
  "torch7": Layout(_torch7, TORCH),
  "caffe": Layout(_caffe(numbered=()), CAFFE, "caffe"),  # ResNet-50
  "caffe, numbered": Layout(_caffe(numbered=(2, 3)), CAFFE, "caffe"),  # ResNet-101, 152
}
PADDINGS = ("both", "end")


class Net(NamedTuple):
  """What the tensors of a file tell of its net."""

  layout: Layout
  family: str
  unit: str
  units: tuple[int, ...]  # of each stage
  classes: int

  @property
  def depth(self) -> int:
    """Layers on the main path; other numbers of units may come to the same."""
    return 2 + {"basic": 2, "bottleneck": 3}[self.unit] * sum(self.units)


def recognize(tensors: Mapping[str, np.ndarray]) -> Net | None:
  """The net whose layers the tensors are named for; None where they are of no layout."""
  found = [(layout, _units(layout, tensors)) for layout in LAYOUTS.values()]
  # Two layouts may differ in the classifier's name alone.
  likely = lambda pair: (sum(pair[1]), _size(tensors, pair[0].classifier) is not None)
  layout, units = max(found, key=likely)
  if not units:
    return None
  stem: Any = tensors.get(f"{layout.name(0, 0, 'conv1')}.weight", np.empty(0))
  family = "imagenet" if stem.shape[2:] == (7, 7) else FAMILIES.get(len(units), "imagenet")
  third = any(f"{layout.name(1, unit, 'conv3')}.weight" in tensors for unit in range(units[0]))
  unit = "bottleneck" if third else "basic"
  return Net(layout, family, unit, units, _size(tensors, layout.classifier) or 10)


def _units(layout: Layout, names: Mapping[str, np.ndarray]) -> tuple[int, ...]:
  """How many units each stage has: those of which one of the first two convolutions is there."""
  present = lambda stage, unit: any(
    f"{layout.name(stage, unit, role)}.weight" in names for role in ("conv1", "conv2")
  )
  count = lambda stage: next(unit for unit in itertools.count() if not present(stage, unit))
  return tuple(itertools.takewhile(bool, map(count, itertools.count(1))))


def _size(tensors: Mapping[str, np.ndarray], layer: str) -> int | None:
  """How many outputs a layer has."""
  shapes = (tensors[name].shape for name in (f"{layer}.weight", f"{layer}.bias") if name in tensors)
  return next((shape[0] for shape in shapes if shape), None)
