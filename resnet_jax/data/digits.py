"""The 1797 handwritten 8x8 digits that come with scikit-learn: real images without a download."""

import importlib.metadata
from typing import Any

import numpy as np

from resnet_jax.data.arrays import DATASETS

_FILE = "sklearn/datasets/data/digits.csv.gz"
_HELD_OUT = 5  # every fifth example is a test example: 360 of 1797


@DATASETS("digits")
def digits(_: Any) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
  """The digits with their fixed held-out split, [N, 8, 8, 1]."""
  # The file is found through the distribution's metadata, because importing sklearn.datasets
  # takes several seconds and reading the file takes ten milliseconds.
  path = importlib.metadata.distribution("scikit-learn").locate_file(_FILE)
  rows = np.loadtxt(str(path), delimiter=",", dtype=np.int32)  # 64 grey values 0..16, the label
  images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
  labels, held_out = rows[:, -1], np.arange(len(rows)) % _HELD_OUT == 0
  parts = {
    "train": (images[~held_out], labels[~held_out]),
    "test": (images[held_out], labels[held_out]),
  }
  return parts, "0123456789"
