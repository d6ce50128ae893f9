"""What every data set is once read: two splits of images on the host, and what is known of them."""

import dataclasses
import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from resnet_jax.errors import UserError

# Pixels of padding before the random crop, and whether a mirrored image keeps its meaning. Other
# sets get what the papers give CIFAR.
_AUGMENTATION = {
  "digits": (1, False),
  "mnist": (2, False),
  "emnist": (2, False),
  "kmnist": (2, False),
  "fashion_mnist": (2, True),
  "svhn_cropped": (4, False),
}

Targets = np.ndarray | dict[str, np.ndarray]  # of N examples, each [N, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """Images in host memory, and what a network is to learn of each: `images, labels = split`.

  Attributes:
    images: uint8 [N, H, W, C].
    targets: labels int32 [N], or what else a task asks for, padded to arrays.
    truth: what an evaluation needs and cannot be padded, such as a list of boxes for each image.
  """

  images: np.ndarray
  targets: Targets
  truth: Sequence[Any] | None = None

  def __iter__(self) -> Iterator[Any]:
    return iter((self.images, self.targets))

  @property
  def labels(self) -> Targets:
    """The targets, as classification calls them."""
    return self.targets

  def __repr__(self) -> str:
    return f"Split({len(self.images)} images, {_size(self.images.shape[1:])})"


def mapped(function: Callable[[np.ndarray], Any], targets: Targets) -> Any:
  """`function` of the targets, of each array where there are several."""
  if isinstance(targets, dict):
    return {name: function(array) for name, array in targets.items()}
  return function(targets)


@dataclasses.dataclass(frozen=True)
class Info:
  """What is known of a data set before it is read. `shape` is [H, W, C] of one image."""

  name: str
  shape: tuple[int, int, int]
  classes: tuple[str, ...]
  pad: int  # pixels on each side before the random crop
  flip: bool

  def __repr__(self) -> str:  # without the names of a thousand classes
    about = f"{self.name}, {_size(self.shape)}, {len(self.classes)} classes"
    return f"Info({about}, pad={self.pad}, flip={self.flip})"


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Both splits: in host memory, or photographs that are read as they are needed.

  `fingerprint` tells two data sets apart in a run's result. `notes` are lines for the user, such as
  how many files were left out.
  """

  info: Info
  train: Any  # Split or photos.Source
  test: Any
  fingerprint: str
  notes: tuple[str, ...] = ()

  def __repr__(self) -> str:
    counts = f"{self.train_examples} to train on, {self.test_examples} to test on"
    return f"Dataset({self.info.name}, {_size(self.info.shape)}, {counts}, {self.fingerprint})"

  @property
  def train_examples(self) -> int:
    """How many there are to train on."""
    return examples_of(self.train)

  @property
  def test_examples(self) -> int:
    """How many there are to test on."""
    return examples_of(self.test)

  @property
  def images(self) -> np.ndarray | None:
    """The training images, where they are in memory."""
    return self.train.images if isinstance(self.train, Split) else None


def _size(shape: tuple[int, ...]) -> str:
  return " x ".join(map(str, shape))


def examples_of(split: Any) -> int:
  """How many examples a split has."""
  return len(split.images) if isinstance(split, Split) else len(split)


def describe(config: Any, shape: tuple[int, int, int], classes: tuple[str, ...]) -> Info:
  """The `Info` of `config.data`, with its own augmentation where the config says nothing."""
  pad, flip = _AUGMENTATION.get(config.name.split("/")[0].split(":")[0], (4, True))
  pad = pad if config.pad is None else config.pad
  flip = flip if config.flip is None else config.flip
  return Info(config.name, shape, classes, pad, flip)


def assemble(info: Info, train: Split, test: Split) -> Dataset:
  """The data set of two splits, with its fingerprint.

  Raises:
    UserError: a training example has a label that is no class, such as TFDS's -1 for none.
  """
  labels = train.targets
  if info.classes and isinstance(labels, np.ndarray) and labels.ndim == 1:
    strange = labels[(labels < 0) | (labels >= len(info.classes))]
    if len(strange):
      raise UserError(
        f"config.data.train_split: {len(strange)} of its {len(labels)} examples have no class "
        f"of {info.name} (their label is {strange[0]}); name a split with labels"
      )
  digest = hashlib.sha256(repr((info.name, info.shape, info.classes)).encode())
  for split in (train, test):
    digest.update(repr(split.images.shape).encode())
    digest.update(np.ascontiguousarray(split.images).data)
    mapped(lambda array: digest.update(np.ascontiguousarray(array).data), split.targets)
    if split.truth is not None:
      digest.update(pickle.dumps(split.truth, protocol=4))
  return Dataset(info, train, test, digest.hexdigest()[:16])
