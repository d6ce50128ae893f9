"""The weights before the first step, by the formulas of their papers."""

import functools

import jax
import numpy as np
import pytest

from resnet_jax import models
from resnet_jax.config import default_config
from tests.hurry import evaluate


@functools.cache
def initial(**settings):
  config = default_config().model
  config.update({"depth": 14, **settings})
  images = np.zeros((1, 8, 8, 3), np.float32)
  return evaluate(models.build(config, 10).init, jax.random.key(0), images)["params"]


@pytest.mark.parametrize(
  ("init", "variance"),
  [
    ("msra", 2 / (9 * 32)),
    ("msra_fan_out", 2 / (9 * 64)),
    ("xavier", 2 / (9 * 32 + 9 * 64)),
    ("lecun", 1 / (9 * 32)),
    ("orthogonal", 1 / (9 * 32)),
    ("pytorch", 1 / (3 * 9 * 32)),
  ],
)
def test_variance(init, variance):
  kernel = np.asarray(initial(init=init)["stage3"]["first"]["conv1"]["kernel"])
  assert kernel.shape == (3, 3, 32, 64)
  # 18,432 draws: their variance is known to about 1 %.
  assert np.var(kernel) == pytest.approx(variance, rel=0.04)
  assert abs(np.mean(kernel)) < 4 * np.sqrt(variance / kernel.size)


def test_orthogonal_kernels_are_matrices_with_orthonormal_columns():
  params = initial(init="orthogonal")
  for kernel in (params["stage3"]["first"]["conv1"]["kernel"], params["classifier"]["kernel"]):
    columns = np.asarray(kernel).reshape(-1, kernel.shape[-1])
    np.testing.assert_allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-5)


@pytest.mark.parametrize(("init", "bound"), [("msra", 0), ("pytorch", 1 / 8)])
def test_classifier_bias(init, bound):
  bias = np.abs(initial(init=init)["classifier"]["bias"])
  assert bias.max() <= bound
  assert (bias.max() > 0) == (bound > 0)


def test_the_classifier_begins_by_fan_in():
  kernel = np.abs(initial(init="msra_fan_out")["classifier"]["kernel"])
  assert 0.9 / 8 < kernel.max() <= 1 / 8  # 64 inputs; by fan-out, of 10 classes, it would be 1.5
  assert np.std(initial(init="msra")["classifier"]["kernel"]) == pytest.approx(
    np.sqrt(2 / 64), rel=0.1
  )


def test_gates_begin_at_their_bias():
  params = initial(shortcut="exclusive_gating", gate_bias=-5.0)
  assert np.all(np.asarray(params["stage1"]["rest"]["gate"]["bias"]) == -5.0)
