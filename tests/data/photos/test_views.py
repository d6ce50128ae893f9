"""Views of photographs of any shape: their pixels, and what they cost."""

import hashlib
import io

import make
import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.photos import crops, decode, examples, views
from resnet_jax.data.photos.unreadable import Unreadable


def across_then_down(image, shorter):
  """The whole photograph resized as Pillow up to 12 does: in two calls the order is given."""
  height, width = crops.resized(image.height, image.width, shorter)
  return image.resize((width, image.height), 2).resize((width, height), 2)


def at_once(image, shorter):
  return image.resize(crops.resized(image.height, image.width, shorter)[::-1], 2)


def whole_then_cut(image, name, size, resize):
  found = []
  for shorter, box, flip in views.VIEWS[name]((image.height, image.width), size):
    pixels = np.asarray(resize(image, shorter).crop(box))
    found.append(pixels[:, ::-1] if flip else pixels)
  return found


def same(image, name, size, resize):
  found = views.cut(image, views.VIEWS[name]((image.height, image.width), size))
  for one, expected in zip(found, whole_then_cut(image, name, size, resize), strict=True):
    np.testing.assert_array_equal(one, expected)


def noise(height, width, seed=0):
  random = np.random.default_rng(seed)
  return Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("name", views.VIEWS)
def test_what_no_view_shows_changes_nothing(name):
  random = np.random.default_rng(1)
  sides = np.exp(random.uniform(0, np.log(400), (40, 2))).astype(int).tolist()
  for height, width in [*sides, (1, 300), (300, 1), (2, 2), (37, 37), (3, 299)]:
    same(noise(height, width), name, 32, across_then_down)


@pytest.mark.parametrize("name", views.VIEWS)
def test_ordinary_photographs_are_what_pillow_makes_at_once(name):
  for sides in [(50, 50), (61, 90), (90, 61), (40, 120), (100, 51), (33, 47)]:
    same(noise(*sides), name, 32, at_once)


def digest(arrays):
  found = hashlib.sha256()
  for array in arrays:
    found.update(np.ascontiguousarray(array))
  return found.hexdigest()[:16]


@pytest.mark.parametrize(
  ("sides", "expected"),
  [
    ((82, 40), "4888610aa96d1a30"),
    ((500, 60), "789b280b55ec4eca"),
    ((60, 500), "646a70740e9883af"),
    ((41, 43), "383e48355dd0f0aa"),
  ],
)
def test_views_are_the_same_under_any_pillow(sides, expected):
  """The digests are those of 12.3 and 13.0, whose one call differs for the first two."""
  found = views.cut(noise(*sides), views.ten_crop(sides, 32))
  assert digest(found) == expected


def encoded(height, width):
  file = io.BytesIO()
  noise(height, width).save(file, "PNG")
  return file.getvalue()


@pytest.fixture
def held(monkeypatch):
  """The pixels of every image that was resized."""
  resize, found = Image.Image.resize, []

  def recorded(image, size, *rest):
    found.append(size[0] * size[1])
    assert found[-1] <= views.MOST_RESIZED
    return resize(image, size, *rest)

  monkeypatch.setattr(Image.Image, "resize", recorded)
  return found


@pytest.mark.parametrize("name", ["single", "320", "10-crop"])
def test_a_long_photograph_costs_little(name, held):
  data, size = encoded(1, 20_000), 32
  found = views.Views(name, size)(data)
  assert all(view.shape == found["0"].shape for view in found.values())
  assert max(held) <= 20_000 * views.scaled(320, size)


def test_a_long_photograph_costs_little_at_the_full_size(held):
  (view,) = views.Views("single", 224)(encoded(1, 20_000)).values()
  assert view.shape == (224, 224, 3)
  assert max(held) == 256 * 20_000
  assert views.small(encoded(2, 20_000), (32, 32, 1)).shape == (32, 32, 1)


@pytest.mark.parametrize(
  ("name", "sides", "message"),
  [
    ("single", (20_000, 1), "1 x 20000 pixels, which become 256 x 5120000 .* resized to 256; that"),
    ("10-crop", (20_000, 1), "1 x 20000 pixels, which become 256 x 5120000 .* to 256; that is too"),
    ("320", (20_000, 2), "2 x 20000 pixels, which become 320 x 3200000 .* resized to 320; that is"),
    ("multi-scale", (1, 2000), "2000 x 1 pixels, which become 448000 x 224 .* to 224; that is too"),
    ("multi-scale", (2000, 1), "1 x 2000 pixels, which become 224 x 448000 .* to 224; that is too"),
    ("multi-scale", (20, 840), "840 x 20 pixels, which become 26880 x 640 .* to 640; that is too"),
  ],
)
def test_what_would_cost_too_much_is_unreadable(name, sides, message, held):
  with pytest.raises(Unreadable, match=f"^it has {message}"):
    views.Views(name, 224)(encoded(*sides))
  assert held == []


def test_photographs_up_to_the_limits_are_read():
  """Panoramas of 26 to 1 at every scale, and what is much longer in one crop."""
  for name, photo in [
    ("multi-scale", (100, 2600)),
    ("multi-scale", (2600, 100)),
    ("10-crop", (1, 200_000)),
    ("10-crop", (1000, 1)),
    ("320", (500, 1)),
  ]:
    for view in views.VIEWS[name](photo, 224):
      views.check_cost(photo, view)


def test_too_little_memory_for_one_photograph_makes_it_unreadable(monkeypatch):
  def too_large(*_, **__):
    raise MemoryError

  data = make.encoded()
  monkeypatch.setattr(Image.Image, "resize", too_large)
  for call in (views.Views("single", 32), lambda file: views.small(file, (32, 32, 3))):
    with pytest.raises(Unreadable, match="^there is not enough memory for it$"):
      call(data)


class Some:
  """A source of given files."""

  classes, fingerprint, left_out = ("all",), "some", ""

  def __init__(self, *files):
    self.files = files

  def __len__(self):
    return len(self.files)

  def __getitem__(self, index):
    return self.files[index], index

  def name(self, index):
    return f"file {index}"


def test_a_test_counts_it_as_unreadable_and_goes_on():
  source = Some(make.encoded(), encoded(1, 20_000), encoded(20_000, 1))
  found = examples.Evaluation(source, views.Views("single", 224))([0, 1, 2])
  assert found["unreadable"].tolist() == [-1, -1, 2]
  assert found["label"].tolist() == [0, 1, 2]
  assert found["0"].shape == (3, 224, 224, 3)


@pytest.mark.parametrize("crop", crops.KINDS)
def test_training_reads_long_photographs(crop):
  source = Some(encoded(1, 20_000), encoded(20_000, 1))
  found = examples.Training(source, 32, crop, 0)((0, [0, 1]))
  assert found["unreadable"].tolist() == [-1, -1]


def test_training_replaces_what_does_not_fit_in_memory(monkeypatch):
  good, large = make.encoded(), make.encoded(64, 64)
  convert = decode.simplejpeg.decode_jpeg

  def limited(data, *rest, **settings):
    if bytes(data) == large:
      raise MemoryError
    return convert(data, *rest, **settings)

  monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", limited)
  monkeypatch.setattr(decode, "_BELOW", 10**6)  # so that files are handed on as they are
  found = examples.Training(Some(large, good), 32, "scale", 0)((0, [0, 1]))
  assert found["unreadable"].tolist() == [0, -1]
  assert found["target"].tolist() == [1, 1]
