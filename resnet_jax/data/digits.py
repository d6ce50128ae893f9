"""The 1797 handwritten 8x8 digits that come with scikit-learn: real images without a download."""

import importlib.metadata

import numpy as np

from resnet_jax.data import splits
from resnet_jax.data.dataset import Dataset, Info, Split, assemble, describe

PHOTOGRAPHS = False
_FILE = "sklearn/datasets/data/digits.csv.gz"
_HELD_OUT = 5  # every fifth example is a test example: 360 of 1797


def info(config) -> Info:
  """The `Info` of the digits, shape (8, 8, 1)."""
  return describe(config, (8, 8, 1), tuple("0123456789"))


def load(config) -> Dataset:
  """The digits with their fixed held-out split.

  Raises:
    UserError: `config.train_split` or `config.test_split` names nothing.
  """
  everything = _read()
  held_out = np.arange(len(everything.targets)) % _HELD_OUT == 0
  parts = {
    "train": Split(everything.images[~held_out], everything.targets[~held_out]),
    "test": Split(everything.images[held_out], everything.targets[held_out]),
  }
  return assemble(
    info(config),
    splits.select("config.data.train_split", config.train_split, parts),
    splits.select("config.data.test_split", config.test_split, parts),
  )


def _read() -> Split:
  # The file is found through the distribution's metadata, because importing sklearn.datasets
  # takes several seconds and reading the file takes ten milliseconds.
  path = importlib.metadata.distribution("scikit-learn").locate_file(_FILE)
  rows = np.loadtxt(str(path), delimiter=",", dtype=np.int32)  # 64 grey values 0..16, the label
  images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
  return Split(images, rows[:, -1])
