"""Sets that TFDS prepared, other than CIFAR: miniatures in its own folders."""

import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from resnet_jax import data
from resnet_jax.config import default_config
from resnet_jax.data import tfds as tfds_reader
from resnet_jax.errors import UserError


def encoded(image, kind="PNG"):
  file = io.BytesIO()
  image.save(file, kind)
  return file.getvalue()


def prepare(name, folder, images, labels):
  """Writes both splits of the set `name` as TFDS would have, every encoded image once in each."""
  builder = tfds.builder(name, data_dir=folder)

  def examples():
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
      example = {"id": str(number), "image": image, "label": int(label)}
      yield number, {key: example[key] for key in builder.info.features}

  builder._split_generators = lambda _: {"train": examples(), "test": examples()}
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
  )


def config(name, folder, **settings):
  tree = default_config().data
  tree.update({"name": name, "dir": str(folder)} | settings)
  return tree


@pytest.mark.parametrize(
  ("name", "shape", "pad", "flip"),
  [
    ("mnist", (28, 28, 1), 2, False),
    ("fashion_mnist", (28, 28, 1), 2, True),
    ("svhn_cropped", (32, 32, 3), 4, False),
  ],
)
def test_a_prepared_set_is_read_by_name(tmp_path, name, shape, pad, flip):
  random = np.random.default_rng(0)
  images, labels = random.integers(0, 256, (12, *shape), np.uint8), np.arange(12) % 10
  files = [encoded(Image.fromarray(image.squeeze())) for image in images]
  prepare(name, tmp_path, files, labels)
  loaded = data.load(config(name, tmp_path, test_split="test[:5]"))
  assert (loaded.info.shape, len(loaded.info.classes)) == (shape, 10)
  assert (loaded.info.pad, loaded.info.flip) == (pad, flip)
  assert len(loaded.test.targets) == 5
  order = [np.flatnonzero((images == image).all((1, 2, 3)))[0] for image in loaded.train.images]
  assert sorted(order) == list(range(12))
  np.testing.assert_array_equal(loaded.train.targets, labels[order])


def palette(pixels):
  """The same pixels by a palette that does not begin with them."""
  colours = [(0, 0, 0), *sorted(set(map(tuple, pixels.reshape(-1, 3))))]
  numbers = [colours.index(tuple(pixel)) for pixel in pixels.reshape(-1, 3)]
  image = Image.fromarray(np.uint8(numbers).reshape(pixels.shape[:2]))
  image.putpalette([value for colour in colours for value in colour])
  return image


def opaque(pixels, alpha=100):
  """The same pixels beside an alpha channel."""
  return Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)]))


SHADES = np.uint8(np.random.default_rng(0).choice([10, 100, 250], (32, 32)))
COLOURS = np.uint8([[200, 30, 60], [20, 90, 250]])[np.arange(32 * 32).reshape(32, 32) // 99 % 2]
GREY = np.dstack([SHADES] * 3)
# What is encoded, in which format, and the pixels of a feature of three channels.
KINDS = {
  "rgb": (Image.fromarray(COLOURS), "PNG", COLOURS),
  "grey": (Image.fromarray(SHADES), "PNG", GREY),
  "grey jpeg": (Image.new("L", (32, 32), 77), "JPEG", np.full((32, 32, 3), 77)),
  "1 bit": (Image.fromarray(SHADES > 50), "PNG", 255 * (GREY > 50)),
  "16 bits": (Image.fromarray(SHADES.astype(np.uint16) * 257), "PNG", GREY),
  "palette": (palette(COLOURS), "PNG", COLOURS),
  "rgba": (opaque(COLOURS), "PNG", COLOURS),
  "grey and alpha": (opaque(SHADES), "PNG", GREY),
  "cmyk": (Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", [255, 0, 0]),
  "bmp": (Image.fromarray(COLOURS), "BMP", COLOURS),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
  """A set whose feature has three channels, its images encoded in every way."""
  folder = tmp_path_factory.mktemp("mixed")
  files = [encoded(image, kind) for image, kind, _ in KINDS.values()]
  prepare("svhn_cropped", folder, files, np.arange(len(files)) % 10)
  loaded = data.load(config("svhn_cropped", folder))
  return folder, loaded.train


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_gets_the_channels_of_its_feature(mixed, kind):
  _, train = mixed
  number = list(KINDS).index(kind)
  wanted = np.broadcast_to(KINDS[kind][2], (32, 32, 3)).astype(int)
  same_label = train.images[train.targets == number % 10].astype(int)
  # A flat JPEG comes back within a level or two of what it was.
  assert (abs(same_label - wanted).max((1, 2, 3)) <= (2 if "JPEG" in KINDS[kind][1] else 0)).any()


@pytest.mark.parametrize("kind", ["rgb", "grey", "1 bit", "palette", "rgba", "grey and alpha"])
def test_an_image_of_a_grey_feature_has_one_channel(kind):
  image, _, pixels = KINDS[kind]
  grey = np.asarray(pixels) @ [0.299, 0.587, 0.114]
  found = tfds_reader._decoded(encoded(image), (32, 32, 1))
  np.testing.assert_allclose(found[..., 0], grey, atol=1)


def test_an_image_of_another_size_is_damaged():
  with pytest.raises(ValueError, match="it has 16 x 64 pixels"):
    tfds_reader._decoded(encoded(Image.new("RGB", (16, 64))), (32, 32, 3))


def test_a_sum_of_slices(mixed):
  folder, whole = mixed
  settings = config(
    "svhn_cropped", folder, train_split="train[:2]+train[5:8]", test_split="test+train[:50%]"
  )
  loaded = data.load(settings)
  np.testing.assert_array_equal(loaded.train.images, whole.images[[0, 1, 5, 6, 7]])
  assert len(loaded.test.targets) == len(KINDS) + round(len(KINDS) / 2)


@pytest.mark.parametrize(
  ("split", "message"),
  [
    ("train[90%:10%]", "train[9:1] ends before it begins; choose from test (10 examples), train"),
    ("train[5:3]", "train[5:3] ends before it begins"),
    ("train[4:4]", "the slice is empty"),
    ("train[:99]", "Requested slice [:99] incompatible with 10 examples"),
    ("valid", "Unknown split 'valid'"),
    ("train[", "Unrecognized split format: 'train['"),
    ("train[:33%](pct1_dropremainder)", "Unrecognized split format"),
    ("all[:5]", "'all' does not support slice"),
  ],
)
def test_a_split_that_selects_nothing_is_named(mixed, split, message):
  where = f"config.data.train_split={split!r} selects no examples: "
  with pytest.raises(UserError, match=f"^{re.escape(where)}.*{re.escape(message)}") as caught:
    data.load(config("svhn_cropped", mixed[0], train_split=split))
  assert "\n" not in str(caught.value)
