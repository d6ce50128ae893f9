"""The papers' tests: which views of a photograph a network sees; their scores are averaged.

Sizes are those for nets that train on 224; where config.data.image_size is another, all are in
proportion to it. A view is a window of the photograph once its shorter side is resized.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from resnet_jax import errors
from resnet_jax.data.photos import crops, decode
from resnet_jax.data.photos.unreadable import Unreadable, guarded

MOST_RESIZED = 2**26  # pixels that resizing may hold, 256 MB
MOST_SEEN = 2**24  # pixels of one view: two batches of a device
SCALES = (224, 256, 384, 480, 640)  # shorter sides of the fully convolutional test ([R] 3.4)
STRIDE = 32  # of the nets' last map
Sides = tuple[int, int]  # height and width
Place = tuple[float, float]
CENTER = (0.5, 0.5)
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


class View(NamedTuple):
  """A window (left, top, right, bottom) of the photograph with its shorter side resized."""

  shorter: int
  box: tuple[int, int, int, int]
  flip: bool = False


def single(photo: Sides, size: int) -> list[View]:
  """The central 224 of a shorter side of 256."""
  return [window(photo, scaled(256, size), (size, size))]


def large(photo: Sides, size: int) -> list[View]:
  """The central 320 of a shorter side of 320 ([I] table 5)."""
  side = scaled(320, size)
  return [window(photo, side, (side, side))]


def ten_crop(photo: Sides, size: int) -> list[View]:
  """The corners and the centre of a shorter side of 256, and their mirror images ([R] 3.4)."""
  shorter = scaled(256, size)
  five = [window(photo, shorter, (size, size), place) for place in (*CORNERS, CENTER)]
  return five + [view._replace(flip=True) for view in five]


def multi_scale(photo: Sides, size: int) -> list[View]:
  """The whole photograph at several scales, for the net as a fully convolutional one ([R] 3.4).

  The longer side is cut, at both ends, to a multiple of the net's stride, so that there are few
  shapes to compile; what is cut has no column of the last map of its own.
  """
  views = []
  for scale in SCALES:
    shorter = scaled(scale, size)
    whole = tuple(side - side % STRIDE or side for side in crops.resized(*photo, shorter))
    views.append(window(photo, shorter, whole))
  return views


VIEWS = {"single": single, "320": large, "10-crop": ten_crop, "multi-scale": multi_scale}


def check(name: str) -> None:
  """Raises a UserError for a test that there is not."""
  if name not in VIEWS:
    raise errors.unknown("--test", name, VIEWS)


def scaled(pixels: int, size: int) -> int:
  """What `pixels` of the papers are for a net that trains on `size`."""
  return round(pixels * size / 224)


def window(photo: Sides, shorter: int, size: tuple[int, ...], place: Place = CENTER) -> View:
  """The window of `size` at `place`, each a height and a width.

  A place is 0 for the first rows or columns, 1 for the last, and 0.5 for the central ones, rounded
  half to even as torchvision does.
  """
  whole = crops.resized(*photo, shorter)
  top, left = (
    round((have - want) * share) for have, want, share in zip(whole, size, place, strict=True)
  )
  return View(shorter, (left, top, left + size[1], top + size[0]))


@dataclasses.dataclass(frozen=True)
class Views:
  """What worker processes do with an encoded photograph: the views of a test as arrays."""

  name: str
  size: int

  def __call__(self, data: bytes) -> dict[str, np.ndarray]:
    """`{"0": uint8 [H, W, 3], ...}`, a view each.

    Raises:
      Unreadable: the photograph cannot be decoded, or its views would take too much memory.
    """
    image = decode.rgb(data)
    views = VIEWS[self.name]((image.height, image.width), self.size)
    return {str(number): pixels for number, pixels in enumerate(cut(image, views))}


@guarded()
def cut(image: Image.Image, views: Sequence[View]) -> list[np.ndarray]:
  """The pixels of views, each uint8 [H, W, 3].

  Raises:
    Unreadable: a side is so much longer than the other that a view would take too much memory.
  """
  for view in views:
    check_cost((image.height, image.width), view)
  return list(_cut(image, views))


def _cut(image: Image.Image, views: Sequence[View]) -> Iterator[np.ndarray]:
  """Bilinear with antialiasing, as torchvision on Pillow: first across, then down.

  Two calls, since in one call the order, and with it the last bit, depends on Pillow's version.
  Between them columns that no view shows are left out.
  """

  @functools.cache
  def across(shorter: int) -> Image.Image:
    _, width = crops.resized(image.height, image.width, shorter)
    return image.resize((width, image.height), Image.Resampling.BILINEAR)

  @functools.cache
  def strip(shorter: int, left: int, right: int) -> Image.Image:
    height, _ = crops.resized(image.height, image.width, shorter)
    columns = across(shorter).crop((left, 0, right, image.height))
    return columns.resize((right - left, height), Image.Resampling.BILINEAR)

  for shorter, (left, top, right, bottom), flip in views:
    shown = strip(shorter, left, right).crop((0, top, right - left, bottom))
    yield np.asarray(shown)[:, ::-1] if flip else np.asarray(shown)


def check_cost(photo: tuple[int, int], view: View) -> None:
  """Raises `Unreadable` where a view of a photograph would take too much memory."""
  height, width = crops.resized(*photo, view.shorter)
  left, top, right, bottom = view.box
  held = max(width * photo[0], (right - left) * height)
  if held > MOST_RESIZED or (right - left) * (bottom - top) > MOST_SEEN:
    raise Unreadable(
      f"it has {photo[1]} x {photo[0]} pixels, which become {width} x {height} when its shorter "
      f"side is resized to {view.shorter}; that is too large"
    )


def small(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
  """A photograph for a net of small images: the centre, as large as can be, uint8 [H, W, C].

  Raises:
    Unreadable: the photograph cannot be decoded, or its view would take too much memory.
  """
  image = decode.rgb(data)
  height, width, channels = shape
  shorter = max(height, width)
  view = window((image.height, image.width), shorter, (height, width))
  (pixels,) = cut(image, [view])
  return pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
