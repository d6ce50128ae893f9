"""What the interface of tasks refuses, and what its default collectors keep."""

import numpy as np
import pytest

from resnet_jax import api
from resnet_jax.config import default_config
from resnet_jax.convert import network
from resnet_jax.errors import UserError
from resnet_jax.tasks.collect import PerExample, Summed


def test_each_example_has_its_own_row():
  rows = PerExample(4)
  rows.add({"x": np.array([1.0, 2, 9]), "k": np.array([5, 6, 9])}, np.array([3, 0]), None)
  rows.add({"x": np.array([3.0]), "k": np.array([7])}, np.array([1]), None)
  found = rows.gather()
  np.testing.assert_array_equal(found["x"], [2, 3, np.nan, 1])
  np.testing.assert_array_equal(found["k"], [6, 7, -1, 5])
  with pytest.raises(UserError, match="averages nothing over views or networks"):
    rows.add({"x": np.array([3.0]), "k": np.array([7])}, np.array([1]), None)


def test_batches_are_summed():
  sums = Summed()
  for _ in range(3):
    sums.add({"confusion": np.eye(2)}, np.array([0]), None)
  np.testing.assert_array_equal(sums.gather()["confusion"], 3 * np.eye(2))


def test_what_only_classification_has():
  config = default_config()
  config.task.name = "regression"
  run = api.Run(config, None, {}, 0, None, None)
  with pytest.raises(UserError, match="trained for config.task.name='regression'"):
    run.require_classifier()
  with pytest.raises(UserError, match="weights files hold networks of classification"):
    network.check(config)
