"""Training examples have a class; those of a test set may have none."""

import numpy as np
import pytest

from resnet_jax import data
from resnet_jax.config import default_config
from resnet_jax.data import Split
from resnet_jax.data.dataset import assemble
from resnet_jax.errors import UserError


def split(*labels):
  return Split(np.zeros((len(labels), 8, 8, 1), np.uint8), np.array(labels, np.int32))


def config_of_digits():
  tree = default_config().data
  tree.name = "digits"
  return tree


@pytest.mark.parametrize("label", [-1, 10])
def test_training_examples_of_no_class_are_refused(label):
  info = data.info(config_of_digits())
  with pytest.raises(UserError, match=f"train_split: 2 of its 3 .*their label is {label}"):
    assemble(info, split(0, label, label), split(0))
  assert assemble(info, split(0, 9), split(-1)).test_examples == 1  # a test set may have none
