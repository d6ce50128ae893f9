"""What no data set may be: empty, or with training examples of no class."""

import numpy as np
import pytest

from resnet_jax import data
from resnet_jax.config import default_config
from resnet_jax.data import Split, digits
from resnet_jax.data.dataset import assemble
from resnet_jax.errors import UserError


def split(*labels):
  return Split(np.zeros((len(labels), 8, 8, 1), np.uint8), np.array(labels, np.int32))


@pytest.fixture
def config():
  tree = default_config().data
  tree.update({"name": "digits", "train_split": "train[:2]", "test_split": "test[:1]"})
  return tree


@pytest.mark.parametrize(
  ("train", "test", "message"),
  [
    ((), (1,), r"config.data.train_split='train\[:2\]' selects no examples; name one that does"),
    ((1, 2), (), r"config.data.test_split='test\[:1\]' selects no examples; name one that does"),
  ],
)
def test_an_empty_split_is_refused(config, monkeypatch, train, test, message):
  info = data.info(config)
  monkeypatch.setattr(digits, "load", lambda _: assemble(info, split(*train), split(*test)))
  with pytest.raises(UserError, match=message):
    data.load(config)


@pytest.mark.parametrize("label", [-1, 10])
def test_training_examples_of_no_class_are_refused(config, label):
  info = data.info(config)
  with pytest.raises(UserError, match=f"train_split: 2 of its 3 .*their label is {label}"):
    assemble(info, split(0, label, label), split(0))
  assert assemble(info, split(0, 9), split(-1)).test_examples == 1  # a test set may have none
