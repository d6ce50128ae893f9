"""Data sets that a function returns as arrays, by name: the digits', and those of one's own.

    @resnet_jax.dataset("shapes", file="shapes.npz")
    def shapes(config: Any):
      found = np.load(config.shapes.file)
      return {"all": (found["images"], found["labels"])}, ("round", "square")

The function is given `config.data`. It returns the parts of the set by name, of which
`config.data.train_split` and `test_split` take theirs, such as all[:80%] and all[80%:], and the
names of the classes in the order of the labels. Images are uint8 [N, H, W, C], labels are whole
numbers. For another task than classification there may be no classes, targets are an array or a
dict of such, [N, ...], and a third of a part is its truth; see `dataset.Split`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resnet_jax.data import splits
from resnet_jax.data.dataset import Dataset, Info, Split, assemble, describe, mapped
from resnet_jax.errors import UserError
from resnet_jax.registry import Registry

DATASETS = Registry("data set", "data.name", taken=("folder", "list"))
_Key = tuple[Callable[[Any], Any], str]  # a function, and the config that it is given
_known: dict[_Key, tuple[tuple[int, int, int], tuple[str, ...]]] = {}
_made: dict[_Key, dict[str, Split]] = {}  # by `info`, for the `load` that mostly comes next


PHOTOGRAPHS = False


def info(config: Any) -> Info:
  """What is known of a set; the arrays are made for that, and kept until they are loaded."""
  key = _key(config)
  if key not in _known:
    _made[key] = _read(config)
  return describe(config, *_known[key])


def load(config: Any) -> Dataset:
  """The data set.

  Raises:
    UserError: the arrays are none of images and labels, or a split names nothing.
  """
  parts = _made.pop(_key(config), None) or _read(config)
  train, test = (
    splits.select(f"config.data.{key}", config[key], parts) for key in ("train_split", "test_split")
  )
  return assemble(info(config), train, test)


def _key(config: Any) -> _Key:
  return DATASETS[config.name], config.to_json()


def _read(config: Any) -> dict[str, Split]:
  parts, classes = DATASETS[config.name](config)
  read = {
    name: _split(f"data set {config.name!r}, {name}", bool(classes), *part)
    for name, part in parts.items()
  }
  shapes = {split.images.shape[1:] for split in read.values()}
  if len(shapes) != 1:
    raise UserError(f"data set {config.name!r}: its images have {len(shapes)} sizes, not one")
  _known[_key(config)] = shapes.pop(), tuple(map(str, classes))
  return read


def _split(
  what: str, labelled: bool, images: Any, targets: Any, truth: Sequence[Any] | None = None
) -> Split:
  images, targets = np.asarray(images), mapped(np.asarray, targets)
  if images.dtype != np.uint8 or images.ndim != 4:
    raise UserError(
      f"{what}: images are {images.dtype} {list(images.shape)}; give uint8 [N, H, W, C]"
    )
  for array in targets.values() if isinstance(targets, dict) else [targets]:
    if len(array) != len(images):
      raise UserError(f"{what}: {len(array)} targets of {len(images)} images; give one of each")
  if labelled and not isinstance(targets, dict) and targets.ndim == 1:
    if targets.dtype.kind not in "iu":
      raise UserError(f"{what}: labels are {targets.dtype}; give whole numbers")
    targets = targets.astype(np.int32)
  return Split(images, targets, truth)
