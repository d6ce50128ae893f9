"""Which part of a photograph is used: the random crops of training, the centre of evaluation.

A box is (left, top, right, bottom) in the photograph's own pixels, to be resized to a square:
what lies outside need be neither decoded nor resized.
"""

import math

import numpy as np

from resnet_jax import errors
from resnet_jax.config.settings import SETTINGS

KINDS = SETTINGS["data.crop"].choices
_SHORTER = (256, 480)  # [R] 3.4, for crops of 224
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10

Box = tuple[int, int, int, int]


def check(kind: str) -> None:
  """Raises a UserError for a kind of crop that there is not."""
  if kind not in KINDS:
    raise errors.unknown("config.data.crop", kind, KINDS)


def scale(height: int, width: int, size: int, rng: np.random.Generator) -> Box:
  """Scale augmentation ([R] 3.4): the shorter side is resized at random, then cropped at random.

  Args:
    height: of the photograph, in pixels.
    width: of the photograph.
    size: the side of the crop; the shorter side becomes 256 to 480 times `size / 224`.
    rng: draws the side and the place.

  Returns:
    The square of whole pixels that becomes the crop.
  """
  shorter = rng.integers(_SHORTER[0], _SHORTER[1] + 1) / 224
  side = max(1, round(min(height, width) / shorter))
  return _place(height, width, side, side, rng)


def scale_aspect(height: int, width: int, size: int, rng: np.random.Generator) -> Box:
  """Scale and aspect ratio augmentation, as in the authors' Torch release.

  8 to 100 % of the area with an aspect of 3/4 to 4/3, both uniform, lying or standing with equal
  chances. If ten attempts do not fit, the largest square in the centre.

  Args:
    height: of the photograph, in pixels.
    width: of the photograph.
    size: is not used; this crop is relative to the photograph alone.
    rng: draws the area, the aspect and the place.

  Returns:
    The rectangle of whole pixels that becomes the crop.
  """
  for _ in range(_ATTEMPTS):
    area = height * width * rng.uniform(*_AREA)
    aspect = rng.uniform(*_ASPECT)
    sides = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
    high, wide = sides if rng.random() < 0.5 else sides[::-1]
    if high <= height and wide <= width:
      return _place(height, width, high, wide, rng)
  return center(height, width, min(height, width))


def draw(kind: str, height: int, width: int, size: int, rng: np.random.Generator) -> Box:
  """A random crop of `kind`."""
  return (scale if kind == "scale" else scale_aspect)(height, width, size, rng)


def resized(height: int, width: int, shorter: int) -> tuple[int, int]:
  """Height and width once the shorter side is `shorter`; the longer is rounded down."""
  low = min(height, width)
  return int(shorter * height / low), int(shorter * width / low)


def center(height: int, width: int, size: int) -> Box:
  """The square of `size` pixels in the centre, rounded half to even as torchvision does."""
  left, top = round((width - size) / 2), round((height - size) / 2)
  return left, top, left + size, top + size


def _place(height: int, width: int, high: int, wide: int, rng: np.random.Generator) -> Box:
  top = int(rng.integers(0, height - high + 1))
  left = int(rng.integers(0, width - wide + 1))
  return left, top, left + wide, top + high
