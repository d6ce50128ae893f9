"""A published ResNet-20 for CIFAR-10, where RESNET_JAX_PRETRAINED names the folder that holds it.

There must be `resnet20-12fca82f.th` and `resnet20_reference.npz`, the logits of the original for
the first 256 test images; CIFAR-10 must be prepared.
"""

import os
import pathlib

import jax
import numpy as np
import pytest

from resnet_jax import convert, data, models
from resnet_jax.data import augment

FOLDER = os.environ.get("RESNET_JAX_PRETRAINED", "")
ERRORS = 827  # that the original makes on the 10,000 test images

pytestmark = pytest.mark.skipif(not FOLDER, reason="RESNET_JAX_PRETRAINED names no folder")


def test_resnet20():
  pytest.importorskip("torch")
  folder = pathlib.Path(FOLDER)
  config, variables, report = convert.load_weights(folder / "resnet20-12fca82f.th")
  assert (config.model.depth, config.data.name) == (20, "cifar10")
  assert len(report.used) == 97 and not report.unused
  model = models.build(config.model, 10)
  constants = augment.normalization(None, config.data.normalize)
  logits = jax.jit(lambda images: model.apply(variables, augment.normalize(images, *constants)))
  test = data.load(config.data).test
  with np.load(folder / "resnet20_reference.npz") as reference:
    np.testing.assert_array_equal(test.images[:256], reference["images"])
    difference = np.abs(logits(test.images[:256]) - reference["logits"]).max()
  print(f"largest difference of a logit: {difference:.2e}")
  assert difference < 1e-3
  batches = zip(np.split(test.images, 20), np.split(test.labels, 20), strict=True)
  assert sum((logits(x).argmax(-1) != y).sum() for x, y in batches) == ERRORS
