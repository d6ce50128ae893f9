"""Pixels as Pillow and torchvision have them, odd files, and files that are none."""

import functools
import io
import struct
import zlib

import make
import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.photos import decode, views
from resnet_jax.data.photos.unreadable import Unreadable

JPEGS = [
  {"quality": 90},
  {"subsampling": 0},
  {"subsampling": 1},
  {"progressive": True},
  {"restart_marker_blocks": 4},
  {"mode": "L"},
  {"exif": b"Exif\0\0" + b"\xff\xd8\xff\xc0\0\1" * 40},
]


@pytest.mark.parametrize("settings", JPEGS)
@pytest.mark.parametrize("sides", [(301, 203), (128, 256), (17, 15)])
def test_whole_photographs_are_pillows(settings, sides):
  data = make.encoded(*sides, **settings)
  assert decode.size(data) == sides
  np.testing.assert_array_equal(np.asarray(decode.rgb(data)), make.pillow(data))


@pytest.mark.parametrize("settings", JPEGS)
@pytest.mark.parametrize("top", [0, 1, 33, 150])
def test_what_lies_below_a_crop_does_not_change_it(settings, top):
  data = make.encoded(301, 203, **settings)
  box = (40, top, 104, top + 64)
  expected = make.pillow(data)[top : top + 64, 40:104]
  np.testing.assert_array_equal(decode.crop(data, box, 64), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("factor", [0.5, 1.3, 1.9, 2.0, 3.1, 4.0, 7.9, 9.0, 17])
def test_crops_are_near_pillows_antialiased_ones(kind, factor):
  side = round(48 * factor)
  data = make.encoded(side + 75, side + 40, kind=kind, cell=side // 6, quality=95)
  box = (16, 24, 16 + side, 24 + side)  # elsewhere it is moved by up to half a pixel
  reference = Image.fromarray(make.pillow(data)).resize((48, 48), 2, box=box)
  difference = np.abs(decode.crop(data, box, 48) - np.asarray(reference, float))
  assert difference.mean() < 4


def test_a_crop_that_is_shrunk_has_no_aliases():
  stripes = np.zeros((640, 640, 3), np.uint8)
  stripes[:, ::2] = 255
  for kind in ("PNG", "JPEG"):
    file = io.BytesIO()
    Image.fromarray(stripes).save(file, kind, quality=100)
    for side in (640, 352, 190):
      found = decode.crop(file.getvalue(), (0, 0, side, side), 64).astype(float)
      assert np.abs(found - 127.5).max() < 45


@pytest.mark.parametrize("sides", [(375, 500), (500, 333), (90, 700), (256, 256), (61, 64)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_centre_is_torchvisions(sides, kind):
  data = make.encoded(*sides, kind=kind)
  expected = make.torchvision_center(data, 256, 224)
  np.testing.assert_array_equal(views.Views("single", 224)(data)["0"], expected)


def test_odd_files_are_what_pillow_makes_of_them():
  whole = (0, 0, 80, 60)
  for kind, mode, settings in [
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {}),
    ("PNG", "P", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "LA", {}),
    ("PNG", "1", {}),
    ("GIF", "P", {"save_all": True, "append_images": [Image.new("RGB", (80, 60))]}),
    ("WEBP", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (80, 60))]}),
    ("BMP", "RGB", {}),
  ]:
    data = make.encoded(kind=kind, mode=mode, **settings)
    assert decode.size(data) == (60, 80)
    np.testing.assert_array_equal(np.asarray(decode.rgb(data)), make.pillow(data))
    assert decode.crop(data, whole, 60).shape == (60, 60, 3)


def test_cmyk_is_inverted_where_adobe_wrote_it():
  data = make.encoded(mode="CMYK")
  for changed in (data, data.replace(b"Adobe", b"Other")):
    np.testing.assert_array_equal(np.asarray(decode.rgb(changed)), make.pillow(changed))


def test_16_bits_become_8():
  values = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) * 13
  file = io.BytesIO()
  Image.fromarray(values).save(file, "PNG")
  found = np.asarray(decode.rgb(file.getvalue()))
  np.testing.assert_array_equal(found, np.repeat(values[..., None] >> 8, 3, axis=2))


def test_exif_orientation_is_ignored():
  exif = Image.Exif()
  exif[0x0112] = 6
  data = make.encoded(exif=exif)
  assert decode.size(data) == (60, 80)
  np.testing.assert_array_equal(
    np.asarray(decode.rgb(data)), np.asarray(decode.rgb(make.encoded()))
  )


def test_a_jpeg_that_breaks_off_is_grey_from_there():
  data = make.encoded(200, 100, quality=95)
  half = data[: len(data) // 2]
  found, whole = np.asarray(decode.rgb(half)), make.pillow(data)
  np.testing.assert_array_equal(found[:50], whole[:50])
  assert (found[-20:] == 128).all()
  np.testing.assert_array_equal(decode.crop(half, (0, 0, 50, 50), 50), whole[:50, :50])


def frame_of(data, marker=0xC0, bits=8, components=None):
  """A JPEG whose frame claims to be of another kind; nothing may decode it."""
  changed, at = bytearray(data), data.index(b"\xff\xc0")
  changed[at + 1], changed[at + 4] = marker, bits
  if components:
    changed[at + 9] = components
  return bytes(changed)


def with_stray(data, stray):
  """A JPEG with `stray` between two of its segments."""
  at = data.index(b"\xff\xdb")
  return data[:at] + stray + data[at:]


def to_simplejpeg(data, monkeypatch):
  """Whether a file is handed to simplejpeg; neither library sees a byte of it."""
  given = []

  def refused(*_, **__):
    given.append("simplejpeg")
    return np.zeros((60, 80, 3), np.uint8)

  def pillow(_):
    given.append("Pillow")
    return Image.new("RGB", (80, 60))

  monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", refused)
  monkeypatch.setattr(decode, "_open", pillow)
  assert decode.size(data) == (60, 80)
  assert decode.crop(data, (0, 0, 64, 60), 16).shape == (16, 16, 3)
  assert decode.rgb(data).size == (80, 60)
  ours = "simplejpeg" in given
  assert given == (["simplejpeg"] * 2 if ours else ["Pillow"] * 3)
  return ours


@pytest.mark.parametrize(
  "marker", [*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xDE]
)
def test_only_common_kinds_of_jpeg_reach_simplejpeg(marker, monkeypatch):
  common = marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
  assert to_simplejpeg(frame_of(make.encoded(), marker), monkeypatch) == common


@pytest.mark.parametrize("components", [2, 4, 5])
def test_only_one_or_three_components_reach_simplejpeg(components, monkeypatch):
  assert not to_simplejpeg(frame_of(make.encoded(), components=components), monkeypatch)


def test_only_one_frame_reaches_simplejpeg(monkeypatch):
  data = make.encoded()
  at = data.index(b"\xff\xc0")
  frame = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
  for second in (frame, frame_of(frame, 0xC3), frame_of(frame, 0xC2)):
    for changed in (data[:at] + second + data[at:], with_stray(data, second)):
      assert not to_simplejpeg(changed, monkeypatch)


FILL = [b"\xff", b"\xff\xff\xff"]
STRAY = [b"\0", b"stray bytes", b"\xff\0", b"\xff\xd3", b"\r\n\xff\0\0"]
ODD = [b"\xff\xd8", b"\xff\x01", b"\xff\xf0\0\2", b"\xff\xe0\0\0"]


@pytest.mark.parametrize("stray", [*STRAY, *ODD])
def test_what_is_not_all_segments_does_not_reach_simplejpeg(stray, monkeypatch):
  assert not to_simplejpeg(with_stray(make.encoded(), stray), monkeypatch)


@pytest.mark.parametrize("segment", [b"\xff\xfe\0\5\xff\xc3!", b"\xff\xed\0\2", *FILL])
def test_segments_and_filling_do(segment, monkeypatch):
  assert to_simplejpeg(with_stray(make.encoded(), segment), monkeypatch)


@pytest.mark.parametrize("stray", [*FILL, *STRAY])
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"mode": "CMYK"}])
def test_stray_bytes_between_segments_are_passed_over_as_pillow_does(stray, settings):
  data = make.encoded(61, 83, **settings)
  changed = with_stray(data, stray)
  assert decode.size(changed) == (61, 83)
  np.testing.assert_array_equal(np.asarray(decode.rgb(changed)), make.pillow(data))
  part = decode.crop(changed, (10, 5, 58, 53), 48)
  np.testing.assert_array_equal(part, make.pillow(data)[5:53, 10:58])


@pytest.mark.parametrize("marker", [0xC1, 0xC2, 0xC3, 0xC9])
@pytest.mark.parametrize("bits", [2, 12, 16])
def test_a_jpeg_of_other_than_8_bits_is_called_that(marker, bits, monkeypatch):
  monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", None)
  monkeypatch.setattr(decode, "_open", None)
  data = frame_of(make.encoded(), marker, bits)
  for changed in (data, with_stray(data, b"\0\0")):
    for call in (decode.size, decode.rgb, lambda file: decode.crop(file, (0, 0, 20, 20), 16)):
      with pytest.raises(Unreadable, match=f"^it is a {bits}-bit JPEG; only those of 8 bits are"):
        call(changed)


def test_too_little_memory_for_one_photograph_makes_it_unreadable(monkeypatch):
  def too_large(*_, **__):
    raise MemoryError

  data = make.encoded()
  monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", too_large)
  for call in (decode.rgb, lambda file: decode.crop(file, (0, 0, 20, 20), 16)):
    with pytest.raises(Unreadable, match="^there is not enough memory for it$"):
      call(data)


def bomb(kind, *sides):
  if kind == "PNG":
    data = make.encoded(kind="PNG")
    header = b"IHDR" + struct.pack(">II", *sides) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
  data = bytearray(make.encoded())
  at = data.index(b"\xff\xc0") + 5
  data[at : at + 4] = struct.pack(">HH", *sides)
  return bytes(data)


JPEG, PNG = make.encoded(), make.encoded(kind="PNG")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", "empty"),
    (b"not a photograph", "none of JPEG, PNG"),
    (b"<html>" * 1000, "none of JPEG, PNG"),
    (b"\0" * 5000, "none of"),
    (JPEG[:2], "breaks off"),
    (JPEG[:300], "breaks off"),
    (JPEG[: JPEG.index(b"\xff\xda")], "breaks off"),
    (PNG[: len(PNG) // 2], "truncated"),
    (PNG[:40], "truncated|broken|none of"),
    (make.encoded(kind="GIF", mode="P")[:30], "truncated|none of|EOF|end"),
    (make.encoded(kind="WEBP")[:100], "WebP|decode|decoder|none of"),
    (bomb("JPEG", 60_000, 50_000), "claims 50000 x 60000 pixels"),
    (bomb("PNG", 60_000, 50_000), "exceeds limit"),
    (bomb("PNG", 12_000, 12_000), "claims 12000 x 12000 pixels"),
    (bomb("JPEG", 0, 80), "80 x 0 pixels"),
    (make.encoded(kind="TIFF"), "none of"),
  ],
)
def test_what_is_no_photograph_says_why(data, message):
  for call in (
    lambda: decode.crop(data, (0, 0, 20, 20), 16),
    lambda: decode.rgb(data),
  ):
    with pytest.raises(Unreadable, match=message):
      call()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_damage_raises_nothing_else(kind):
  whole = make.encoded(kind=kind, mode="P" if kind == "GIF" else "RGB")
  random = np.random.default_rng(0)
  for _ in range(300):
    data = bytearray(whole)
    for place in random.integers(0, min(len(data), 800), 4):
      data[place] = random.integers(256)
    data = bytes(data[: random.integers(1, len(data) + 1)])
    for call in (
      functools.partial(decode.size, data),
      functools.partial(decode.crop, data, (0, 0, 80, 60), 16),
    ):
      try:
        call()
      except Unreadable as error:
        assert "\n" not in str(error)
