"""The digits, and the errors of data sets that are not there."""

import sys

import ml_collections
import numpy as np
import pytest

from resnet_jax import data
from resnet_jax.config import default_config
from resnet_jax.data import Split, augment, splits
from resnet_jax.errors import UserError


def config(**settings):
  tree = default_config().data
  tree.update({"name": "digits"} | settings)
  return tree


def test_digits_are_scikit_learns_with_every_fifth_held_out():
  from sklearn.datasets import load_digits  # takes seconds

  loaded, source = data.load(config()), load_digits()
  held_out = np.arange(1797) % 5 == 0
  assert loaded.test.images.shape == (360, 8, 8, 1)
  assert loaded.train.images.shape == (1437, 8, 8, 1)
  assert loaded.train.images.dtype == np.uint8
  np.testing.assert_array_equal(loaded.test.targets, source.target[held_out])
  restored = np.round(loaded.train.images[..., 0].astype(float) * 16 / 255)
  np.testing.assert_array_equal(restored, source.images[~held_out])


@pytest.mark.parametrize("folder", ["", "~/digits"])
def test_a_frozen_config_is_taken(folder):
  frozen = ml_collections.FrozenConfigDict({"data": config(dir=folder)}).data
  assert data.info(frozen).shape == (8, 8, 1)
  assert data.load(frozen).train.images.shape == (1437, 8, 8, 1)
  assert frozen.dir == folder


def test_parts_of_splits():
  loaded = data.load(config(train_split="train[:100]", test_split="train[100:150]"))
  whole = data.load(config())
  np.testing.assert_array_equal(loaded.train.images, whole.train.images[:100])
  np.testing.assert_array_equal(loaded.test.targets, whole.train.targets[100:150])
  assert loaded.fingerprint != whole.fingerprint


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"name": "mnist", "dir": "/nonexistent"}, "tfds build mnist"),
    ({"name": "minst"}, "did you mean 'mnist'"),
    ({"name": "mnist", "dir": "/nonexistent"}, r"TFDS_DATA_DIR.*bundled digits"),
    ({"name": "tf_flowers", "dir": "/nonexistent"}, "tfds build tf_flowers"),
    ({"name": "mnist:9.9.9"}, "only: 3.0.1"),
    ({"name": "coco"}, "No module named 'tensorflow'"),
    ({"test_split": "validation"}, r"test \(360 examples\), train \(1437 examples\)"),
    ({"train_split": "train[:2000]"}, "config.data.train_split='train\\[:2000\\]' selects no"),
    ({"train_split": "train[:"}, r"selects no examples: 'train\[:' is not a split string"),
    ({"train_split": "train[90%:10%]"}, r"train\[1293:144\] ends before it begins"),
    ({"train_split": "train[5:3]"}, r"train\[5:3\] ends before it begins"),
    ({"train_split": "train[:5]+train[9:7]"}, r"train\[9:7\] ends before it begins"),
    ({"train_split": "train[5:5]"}, "the slice is empty"),
    ({"train_split": "train[:-1437]"}, "the slice is empty"),
    ({"train_split": "train[-1438:]"}, "reaches beyond its 1437 examples"),
    ({"train_split": "train[:101%]"}, "reaches beyond its 1437 examples"),
    ({"train_split": "train+valid"}, "there is no split 'valid'"),
    ({"train_split": "train+"}, "'' is not a split string; choose from .*or a sum such as train"),
    ({"train_split": "train[:33%](pct1_dropremainder)"}, "is not a split string"),
  ],
)
def test_what_is_not_there_is_named(settings, message):
  with pytest.raises(UserError, match=message):
    data.load(config(**settings))
  assert "tensorflow" not in sys.modules


def test_parts_mean_what_they_mean_in_tfds():
  import tensorflow_datasets as tfds

  sizes = {"train": 1437, "test": 360}
  parts = {
    name: Split(*[np.arange(size) + 9999 * (name == "test")] * 2) for name, size in sizes.items()
  }
  known = tfds.core.SplitDict(
    tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0, filename_template=None)
    for name, size in sizes.items()
  )
  for text in (
    "train",
    "train[10:20]",
    "train[:80%]",
    "train[33%:66%]",
    "train[-10:]",
    "train[:-1%]",
    "train[5%:]",
    "train[:12.5%]",
    "train[:100]+train[200:300]",
    "train[-3:] + test[:1%]+train",
    "train[5:5]+test",
  ):
    expected = [
      parts[one.splitname].targets[one.from_ : one.to]
      for one in tfds.core.ReadInstruction.from_spec(text).to_absolute(known)
    ]
    np.testing.assert_array_equal(
      splits.select("key", text, parts).targets, np.concatenate(expected), err_msg=text
    )


def test_info_needs_no_data():
  info = data.info(config(name="cifar100", dir="/nonexistent"))
  assert info.shape == (32, 32, 3)
  assert len(info.classes) == 100
  assert (info.pad, info.flip) == (4, True)


def test_normalization_centres_the_training_set():
  images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8)
  for kind, axes in (("pixel_mean", 0), ("channel_mean_std", (0, 1, 2))):
    values = np.asarray(augment.normalize(images, *augment.normalization(images, kind)))
    np.testing.assert_allclose(values.mean(axes), 0, atol=1e-6)
  np.testing.assert_allclose(values.std((0, 1, 2)), 1, rtol=1e-5)


def test_a_sum_of_parts():
  loaded = data.load(config(train_split="train[:100]+train[200:300]", test_split="test+train[:9]"))
  whole = data.load(config())
  first, second = whole.train.images[:100], whole.train.images[200:300]
  np.testing.assert_array_equal(loaded.train.images, np.concatenate([first, second]))
  assert len(loaded.test.targets) == 369
