"""Encoded photographs to pixels: fast for training, exactly Pillow's for evaluation.

JPEG, PNG, WebP, GIF or BMP, whatever the file is called; of several frames the first. Grey,
palette and CMYK become RGB, alpha is dropped, 16 bits become 8, EXIF orientation is ignored, as
torchvision does. simplejpeg decodes the common JPEGs; Pillow decodes the others (CMYK, rare coding
processes, stray bytes between segments) and everything else. A common JPEG that breaks off is grey
from there on. What fails raises `Unreadable` and nothing else.
"""

import io
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from resnet_jax.data.photos import crops
from resnet_jax.data.photos.unreadable import Unreadable, guarded

MOST_PIXELS = 2**27  # 400 MB of RGB; a file that claims more is taken for an attack
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# Markers of a JPEG: frames (all that begin with C but tables), those that simplejpeg is given, the
# tables, comments and applications' data before them, and the beginning of the pixels.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMMON = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_SEGMENTS = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, 0xFE} | frozenset(range(0xE0, 0xF0))
_SCAN = 0xDA
_FILL = 0xFF  # may stand before any marker
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # no length follows
_BELOW = 16  # rows below a crop that its own last rows depend on: a block and its chroma


class _Frame(NamedTuple):
  """What a JPEG says of itself; `at` is where its height stands in the file."""

  at: int
  kind: int
  bits: int
  height: int
  width: int
  components: int


@guarded()
def size(data: bytes) -> tuple[int, int]:
  """Height and width of an encoded photograph, from its header.

  Raises:
    Unreadable: there is none, or it claims more than `MOST_PIXELS`.
  """
  frame = _frame(data)
  return (frame.height, frame.width) if frame else _open(data).size[::-1]


@guarded()
def crop(data: bytes, box: crops.Box, size: int) -> np.ndarray:
  """A part of a photograph, resized to a square.

  Made for speed: a JPEG is decoded at 1/2, 1/4 or 1/8 where the box is that much larger than the
  square, which may move it by half a pixel of the square, and only as far down as the box
  reaches. What is left to shrink, up to twice, is bilinear between two pixels, which leaves none
  out.

  Args:
    data: the encoded photograph.
    box: see `crops`; inside the photograph.
    size: the side of the square, in pixels.

  Returns:
    uint8 [size, size, 3].

  Raises:
    Unreadable: it cannot be decoded.
  """
  left, top, right, bottom = box
  room = min(right - left, bottom - top) // size
  scale = next(s for s in (8, 4, 2, 1) if room >= s or s == 1)
  frame = _frame(data)
  pixels = _turbo(data, frame, bottom, scale) if frame else None
  if pixels is None:
    pixels, scale = np.asarray(_pillow(data)), 1
  left, top, right, bottom = (round(edge / scale) for edge in box)
  part = pixels[top:bottom, left:right]
  way = cv2.INTER_AREA if max(part.shape[:2]) > 2 * size else cv2.INTER_LINEAR
  return cv2.resize(part, (size, size), interpolation=way)


@guarded()
def rgb(data: bytes) -> Image.Image:
  """The whole photograph in RGB, the same pixels as Pillow's `convert("RGB")`.

  Raises:
    Unreadable: it cannot be decoded.
  """
  frame = _frame(data)
  pixels = _turbo(data, frame, frame.height, 1) if frame else None
  return _pillow(data) if pixels is None else Image.fromarray(pixels)


def _frame(data: bytes) -> _Frame | None:
  """The frame of a JPEG that simplejpeg is given; None for what is left to Pillow.

  simplejpeg's reduced sizes can end the process on rare coding processes, so it gets only what is
  common in every respect: one frame of a common kind, and no byte that is not part of a segment.
  """
  if data[:2] != b"\xff\xd8":
    return None
  frames, plain = _segments(data)
  for bits in (frame.bits for frame in frames):
    if bits != 8:
      raise Unreadable(f"it is a {bits}-bit JPEG; only those of 8 bits are read")
  frame = frames[0] if plain and len(frames) == 1 else None
  if frame is None or frame.kind not in _COMMON or frame.components not in (1, 3):
    return None
  _check_size(frame.height, frame.width)
  return frame


def _segments(data: bytes) -> tuple[list[_Frame], bool]:
  """The frames before the pixels, and whether segments of the usual kinds are all there is.

  Stray bytes are passed over as Pillow does: all before an FF, an FF and a zero, and markers
  without a length.
  """
  at, frames, plain = 2, list[_Frame](), True
  while True:
    begin, at = at, data.find(b"\xff", at)
    if at < 0 or at + 10 > len(data):
      raise Unreadable("the JPEG breaks off before its pixels")
    marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
    if marker == _SCAN:
      return frames, plain and at == begin
    usual = marker == _FILL or marker in _SEGMENTS and length >= 2
    plain = plain and at == begin and usual
    if marker in _FRAMES:
      height, width = (int.from_bytes(data[at + k : at + k + 2]) for k in (5, 7))
      frames.append(_Frame(at + 5, marker, data[at + 4], height, width, data[at + 9]))
    at += 1 if marker == _FILL else 2 if marker in _BARE else 2 + max(length, 2)


def _turbo(data: bytes, frame: _Frame, rows: int, scale: int) -> np.ndarray | None:
  """The pixels at 1/scale, the sides rounded up; None for what this library cannot read.

  Where only the first rows are needed, the JPEG is said to have no more, so that the decoder stops
  there.
  """
  coded, height = bytearray(data), frame.height
  if rows + _BELOW < height:
    height = rows + _BELOW
    coded[frame.at : frame.at + 2] = height.to_bytes(2)
  # It takes the smallest scale of n/8 that leaves at least these sides.
  high, wide = (-(-side // scale) for side in (height, frame.width))
  sides = {"min_height": high, "min_width": wide}
  try:
    return np.asarray(simplejpeg.decode_jpeg(coded, "RGB", **sides, strict=False))
  except ValueError:
    return None


def _pillow(data: bytes) -> Image.Image:
  image = _open(data)
  if image.mode.startswith("I"):  # 16 bits, which convert() would clip
    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  return image.convert("RGB")


def _open(data: bytes) -> Image.Image:
  if not data:
    raise Unreadable("it is empty")
  try:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
  except Image.UnidentifiedImageError:
    raise Unreadable(f"it is none of {', '.join(_FORMATS)}") from None
  _check_size(image.height, image.width)
  return image


def _check_size(height: int, width: int) -> None:
  if height * width == 0:
    raise Unreadable(f"it has {width} x {height} pixels")
  if height * width > MOST_PIXELS:
    raise Unreadable(f"it claims {width} x {height} pixels, more than {MOST_PIXELS}")
