"""The convolution that CPUs get, against the library's own: values and both gradients."""

import jax
import numpy as np
import pytest
from jax import lax

from resnet_jax.models.layers import NHWC, convolution


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
