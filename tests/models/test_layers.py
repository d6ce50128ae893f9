"""The convolution that CPUs get against the library's, values and gradients; BN in float32."""

import jax
import numpy as np
import pytest
from jax import lax

from resnet_jax.models.layers import NHWC, BatchNorm, convolution


@pytest.mark.parametrize(
  ("size", "kernel", "stride", "channels"),
  [
    (9, 7, 2, (3, 8)),  # the ImageNet stem, where the last window stops short of the edge
    (8, 3, 1, (4, 4)),
    (8, 3, 2, (4, 6)),
    (7, 3, 2, (4, 6)),
    (2, 3, 1, (5, 5)),  # maps smaller than the kernel
    (1, 3, 2, (5, 5)),
    (8, 1, 1, (3, 9)),  # 1x1: both ways of the weight gradient
    (8, 1, 2, (9, 3)),
  ],
)
def test_convolution(x64, size, kernel, stride, channels):
  random = np.random.default_rng(0)
  x = random.standard_normal((3, size, size, channels[0]))
  w = random.standard_normal((kernel, kernel, *channels))
  pad = [(kernel // 2, kernel // 2)] * 2

  def theirs(x, w):
    return lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=NHWC)

  def ours(x, w):
    return convolution(x, w, (stride, stride), pad)

  expected, pull = jax.vjp(theirs, x, w)
  found, our_pull = jax.vjp(ours, x, w)
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
  dy = random.standard_normal(expected.shape)
  for a, b in zip(our_pull(dy), pull(dy), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_batch_norm_in_float32_where_the_mean_is_far_from_zero():
  x = 3.0 + 0.01 * np.random.default_rng(0).standard_normal((64, 8, 8, 4)).astype(np.float32)
  norm = BatchNorm(decay=0.9, epsilon=1e-5)
  variables = norm.init(jax.random.key(0), x)
  step = jax.jit(lambda v: norm.apply(v, x, mutable=["batch_stats"]))
  for _ in range(50):  # the running mean comes near
    y, new = step(variables)
    variables |= new
  x = x.astype(np.float64)
  expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
  np.testing.assert_allclose(y, expected, atol=1e-3)  # x itself is known to 2e-5 deviations


def test_batch_norm_of_a_constant_is_its_bias():
  norm = BatchNorm(decay=0.9, epsilon=1e-5)
  x = np.full((4, 8, 8, 2), 1000.1, np.float32)  # squares are rounded: the variance may not be < 0
  variables = norm.init(jax.random.key(0), x)
  y, _ = norm.apply(variables, x, mutable=["batch_stats"])
  assert np.isfinite(y).all()
