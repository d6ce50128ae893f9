"""Sets that TFDS prepared, other than CIFAR: miniatures in its own folders."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from resnet_jax import data
from resnet_jax.config import default_config


def prepare(name, folder, images, labels):
  """Writes both splits of the set `name` as TFDS would have, every image once in each."""
  builder = tfds.builder(name, data_dir=folder)

  def examples():
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
      file = io.BytesIO()
      Image.fromarray(image.squeeze()).save(file, "PNG")
      example = {"id": str(number), "image": file.getvalue(), "label": int(label)}
      yield number, {key: example[key] for key in builder.info.features}

  builder._split_generators = lambda _: {"train": examples(), "test": examples()}
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
  )


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
  prepare(name, tmp_path, images, labels)
  config = default_config().data
  config.update({"name": name, "dir": str(tmp_path), "test_split": "test[:5]"})
  loaded = data.load(config)
  assert (loaded.info.shape, len(loaded.info.classes)) == (shape, 10)
  assert (loaded.info.pad, loaded.info.flip) == (pad, flip)
  assert len(loaded.test.labels) == 5
  order = [np.flatnonzero((images == image).all((1, 2, 3)))[0] for image in loaded.train.images]
  assert sorted(order) == list(range(12))
  np.testing.assert_array_equal(loaded.train.labels, labels[order])
