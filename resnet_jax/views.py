"""The papers' tests: which views of a photograph a network sees; their scores are averaged.

Sizes are those for nets that train on 224; where config.data.image_size is another, all are in
proportion to it.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from resnet_jax import evaluation, steps
from resnet_jax.errors import UserError, unknown
from resnet_jax.setup import Setup

SCALES = (224, 256, 384, 480, 640)  # shorter sides of the fully convolutional test ([R] 3.4)
STRIDE = 32  # of the nets' last map
PIXELS = 2**23  # in one batch of a device: 167 images of 224x224

Resize = Callable[[int], np.ndarray]  # a photograph with that shorter side, uint8 [H, W, 3]


def single(resize: Resize, size: int) -> list[np.ndarray]:
  """The central 224 of a shorter side of 256."""
  return [center(resize(scaled(256, size)), size)]


def large(resize: Resize, size: int) -> list[np.ndarray]:
  """The central 320 of a shorter side of 320 ([I] table 5)."""
  large = scaled(320, size)
  return [center(resize(large), large)]


def ten_crop(resize: Resize, size: int) -> list[np.ndarray]:
  """The corners and the centre of a shorter side of 256, and their mirror images ([R] 3.4)."""
  image = resize(scaled(256, size))
  corners = [image[rows, columns] for rows in ends(size) for columns in ends(size)]
  five = [*corners, center(image, size)]
  return five + [crop[:, ::-1] for crop in five]


def multi_scale(resize: Resize, size: int) -> list[np.ndarray]:
  """The whole photograph at several scales, for the net as a fully convolutional one ([R] 3.4).

  The longer side is cut, at both ends, to a multiple of the net's stride, so that there are few
  shapes to compile; what is cut has no column of the last map of its own.
  """
  images = [resize(scaled(scale, size)) for scale in SCALES]
  whole = lambda side: side - side % STRIDE or side
  return [center(image, whole(image.shape[0]), whole(image.shape[1])) for image in images]


VIEWS = {"single": single, "320": large, "10-crop": ten_crop, "multi-scale": multi_scale}


def check(view: str) -> None:
  """Raises a UserError for a test that there is not."""
  if view not in VIEWS:
    raise unknown("--test", view, VIEWS)


def scaled(pixels: int, size: int) -> int:
  """What `pixels` of the papers are for a net that trains on `size`."""
  return round(pixels * size / 224)


def center(image: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
  """The centre, [height, width, 3]; a square where no width is given."""
  sizes = (height, height if width is None else width)
  # As torchvision rounds: halves to even.
  top, left = (round((have - want) / 2) for have, want in zip(image.shape[:2], sizes, strict=True))
  return image[top : top + sizes[0], left : left + sizes[1]]


def ends(size: int) -> tuple[slice, slice]:
  """The first and the last `size` of an axis."""
  return slice(size), slice(-size, None)


class Views(NamedTuple):
  """Makes the views of a test, for worker processes."""

  name: str
  size: int

  def __call__(self, resize: Resize) -> list[np.ndarray]:
    """The views of the photograph that `resize` gives in any size."""
    return VIEWS[self.name](resize, self.size)


def groups(run: Setup, view: str = "single", warn=print) -> Iterator[evaluation.Group]:
  """The test split in batches of one shape, each view of each example once.

  Raises:
    UserError: there is no such test, or not of these images.
  """
  check(view)
  if isinstance(run.test, steps.Examples):
    if view != "single":
      raise UserError(
        f"--test={view} is for photographs; the images of {run.config.data.name} are of one size"
      )
    return evaluation.resident(run.test, run.dataset.test.labels)
  return _streamed(run, view, warn)


def _streamed(run: Setup, view: str, warn) -> Iterator[evaluation.Group]:
  from resnet_jax.data import photos

  waiting: dict[tuple[int, ...], list] = {}  # by the shape of their images
  seen = photos.evaluation(run.test, Views(view, run.config.data.image_size), run.config.data)
  for number, label, images in seen:
    if not images:
      warn(f"{run.test.name(number)} cannot be read and counts as an error")
    for image in images:
      bucket = waiting.setdefault(image.shape, [])
      bucket.append((number, label, image))
      if len(bucket) == batch_size(image.shape):
        yield _group(run, waiting.pop(image.shape))
  for bucket in waiting.values():
    yield _group(run, bucket)


def batch_size(shape: tuple[int, ...]) -> int:
  """How many images of [H, W, 3] are classified at a time: a multiple of the devices."""
  return jax.device_count() * max(1, PIXELS // math.prod(shape[:2]))


def _group(run: Setup, bucket: list[tuple[int, int, np.ndarray]]) -> evaluation.Group:
  shape = bucket[0][2].shape
  images, labels = np.zeros((batch_size(shape), *shape), np.uint8), np.zeros(len(bucket), np.int32)
  for row, (_, label, image) in enumerate(bucket):
    images[row], labels[row] = image, label
  numbers = np.asarray([number for number, _, _ in bucket])
  padded = np.resize(labels, len(images))
  return evaluation.Group(run.on_devices(images, padded), None, numbers, labels)
