"""The convolution that CPUs get against the library's, values and derivatives; BN in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hessian import check, forward_over_reverse, products
from jax import lax

from resnet_jax.models.layers import NHWC, BatchNorm, convolution
from tests.hurry import evaluate

CASES = pytest.mark.parametrize(
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


def both(size, kernel, stride, channels):
  """Our convolution, the library's, and arrays for them."""
  random = np.random.default_rng(0)
  x = random.standard_normal((3, size, size, channels[0]))
  w = random.standard_normal((kernel, kernel, *channels))
  pad = [(kernel // 2, kernel // 2)] * 2

  def theirs(x, w):
    return lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=NHWC)

  def ours(x, w):
    return convolution(x, w, (stride, stride), pad)

  return ours, theirs, x, w


@CASES
def test_convolution(x64, size, kernel, stride, channels):
  ours, theirs, x, w = both(size, kernel, stride, channels)
  expected, pull = jax.vjp(theirs, x, w)
  found, our_pull = jax.vjp(ours, x, w)
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
  dy = np.random.default_rng(1).standard_normal(expected.shape)
  for a, b in zip(our_pull(dy), pull(dy), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@CASES
def test_second_derivatives_of_a_convolution(x64, size, kernel, stride, channels):
  ours, theirs, x, w = both(size, kernel, stride, channels)
  tangents = tuple(np.random.default_rng(2).standard_normal(a.shape) for a in (x, w))

  def loss(convolve, x, w):
    return jnp.sum(jnp.tanh(0.1 * convolve(x, w)) ** 2)

  way = functools.partial(forward_over_reverse, functools.partial(loss, theirs))
  every_way = functools.partial(products, functools.partial(loss, ours))
  expected, found = (evaluate(way, (x, w), tangents) for way in (way, every_way))
  check(found, expected, tangents)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 2)])
def test_many_convolutions_at_once(x64, kernel, axes):
  """Under vmap: the gradient of many, and many gradients."""
  ours, theirs, x, w = both(4, kernel, 2, (3, 5))
  x, w = (
    a if axis is None else np.stack([a, a[::-1] + 1], axis)
    for a, axis in zip((x, w), axes, strict=True)
  )

  def losses(convolve, x, w):
    return jax.vmap(lambda x, w: jnp.sum(jnp.sin(convolve(x, w))), axes)(x, w)

  def gradients(convolve, x, w):
    loss = lambda x, w: jnp.sum(jnp.sin(convolve(x, w)))
    return jax.vmap(jax.grad(loss, (0, 1)), axes)(x, w)

  def everything(convolve, x, w):
    of_all = jax.grad(lambda *a: losses(convolve, *a).sum(), (0, 1))(x, w)
    return losses(convolve, x, w), of_all, gradients(convolve, x, w)

  found, expected = (evaluate(functools.partial(everything, c), x, w) for c in (ours, theirs))
  for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_a_convolution_can_be_exported():
  ours, theirs, x, w = both(8, 3, 2, (4, 6))
  gradient = jax.jit(jax.grad(lambda x, w: jnp.sum(ours(x, w) ** 2), (0, 1)))
  x, w = np.float32(x), np.float32(w)
  (batch,) = jax.export.symbolic_shape("b")
  shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
  exported = jax.export.export(gradient)(shape, jax.ShapeDtypeStruct(w.shape, w.dtype))
  expected = jax.grad(lambda x, w: jnp.sum(theirs(x, w) ** 2), (0, 1))(x, w)
  for a, b in zip(exported.call(x, w), expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


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
