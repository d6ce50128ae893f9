"""The convolution that CPUs get against the library's, values and derivatives; BN in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hessian import check, forward_over_reverse, products
from jax import lax

from resnet_jax.errors import UserError
from resnet_jax.models.convolution import NHWC, convolution
from resnet_jax.models.layers import BatchNorm
from tests.hurry import evaluate

CASES = pytest.mark.parametrize(
  ("size", "kernel", "stride", "channels", "dilation"),
  [
    (9, 7, 2, (3, 8), 1),  # the ImageNet stem, where the last window stops short of the edge
    (8, 3, 1, (4, 4), 1),
    (8, 3, 2, (4, 6), 1),
    (7, 3, 2, (4, 6), 1),
    (2, 3, 1, (5, 5), 1),  # maps smaller than the kernel
    (1, 3, 2, (5, 5), 1),
    (8, 1, 1, (3, 9), 1),  # 1x1: both ways of the weight gradient
    (8, 1, 2, (9, 3), 1),
    (9, 3, 1, (4, 4), 2),
    (8, 3, 2, (4, 6), 3),
    (2, 3, 1, (5, 5), 2),
  ],
)


def both(size, kernel, stride, channels, dilation=1):
  """Our convolution, the library's, and arrays for them."""
  random = np.random.default_rng(0)
  x = random.standard_normal((3, size, size, channels[0]))
  w = random.standard_normal((kernel, kernel, *channels))
  pad = [(dilation * (kernel // 2),) * 2] * 2
  options = {"dimension_numbers": NHWC, "rhs_dilation": (dilation, dilation)}

  def theirs(x, w):
    return lax.conv_general_dilated(x, w, (stride, stride), pad, **options)

  def ours(x, w):
    return convolution(x, w, (stride, stride), pad, **options)

  return ours, theirs, x, w


@CASES
def test_convolution(x64, size, kernel, stride, channels, dilation):
  ours, theirs, x, w = both(size, kernel, stride, channels, dilation)
  expected, pull = jax.vjp(theirs, x, w)
  found, our_pull = jax.vjp(ours, x, w)
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
  dy = np.random.default_rng(1).standard_normal(expected.shape)
  for a, b in zip(our_pull(dy), pull(dy), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@CASES
def test_second_derivatives_of_a_convolution(x64, size, kernel, stride, channels, dilation):
  ours, theirs, x, w = both(size, kernel, stride, channels, dilation)
  tangents = tuple(np.random.default_rng(2).standard_normal(a.shape) for a in (x, w))

  def loss(convolve, x, w):
    return jnp.sum(jnp.tanh(0.1 * convolve(x, w)) ** 2)

  way = functools.partial(forward_over_reverse, functools.partial(loss, theirs))
  every_way = functools.partial(products, functools.partial(loss, ours))
  expected, found = (evaluate(way, (x, w), tangents) for way in (way, every_way))
  check(found, expected, tangents)


# What `nn.Conv` can pass on. The first three have gradients of ours, the others the library's.
OPTIONS = {
  "dilated": {"kernel_dilation": 2, "padding": 2},
  "dilated and strided": {"kernel_dilation": (2, 3), "strides": (2, 1), "padding": "SAME"},
  "padded unevenly": {"padding": ((0, 2), (3, 1)), "strides": 2},
  "SAME": {"padding": "SAME", "strides": 3},
  "VALID": {"padding": "VALID"},
  "CIRCULAR": {"padding": "CIRCULAR"},
  "REFLECT": {"padding": "REFLECT"},
  "no position": {"padding": "VALID", "kernel_dilation": 4},
  "1x1, padded": {"kernel_size": (1, 1), "padding": 1, "strides": 2},
  "1x1, dilated": {"kernel_size": (1, 1), "kernel_dilation": 2, "strides": 2},
  "even": {"kernel_size": (2, 4), "padding": "SAME"},
  "dilated input": {"input_dilation": 2, "padding": 1},
  "groups": {"feature_group_count": 2, "padding": 1, "kernel_dilation": 2},
  "precision": {"precision": "highest", "padding": 1, "kernel_dilation": 2},
  "rows": {"kernel_size": (3,), "padding": "CAUSAL", "kernel_dilation": 2},
  "volumes": {"kernel_size": (3, 2, 1), "padding": 1},
}


def test_every_option_of_a_layer(x64):
  """Outputs and gradients of `nn.Conv` with our convolution and with the library's."""

  def everything(convolve):
    found = {}
    for name, options in OPTIONS.items():
      options = {"kernel_size": (3, 3)} | options
      random = np.random.default_rng(0)
      x = random.standard_normal((2, *(7, 6, 5)[: len(options["kernel_size"])], 4))
      layer = nn.Conv(6, **options, param_dtype=jnp.float64, conv_general_dilated=convolve)
      variables = layer.init(jax.random.key(0), x)
      y, pull = jax.vjp(layer.apply, variables, x)
      found[name] = y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))
    return found

  expected, found = (
    evaluate(functools.partial(everything, convolve))
    for convolve in (lax.conv_general_dilated, convolution)
  )
  for name in OPTIONS:
    for a, b in zip(*map(jax.tree.leaves, (found[name], expected[name])), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11, err_msg=name)


def test_every_option_of_the_operation(x64):
  random = np.random.default_rng(0)
  for shape, kernel, options in (
    ((2, 4, 7, 6), (3, 4, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}),
    ((4, 7, 6, 4), (3, 3, 4, 6), {"batch_group_count": 2}),
    ((2, 7, 6, 4), (3, 3, 4, 6), {"preferred_element_type": jnp.float64}),
  ):
    x, w = (random.standard_normal(size).astype(np.float32) for size in (shape, kernel))
    options = {"dimension_numbers": NHWC} | options
    found = convolution(x, w, (1, 1), "SAME", **options)
    expected = lax.conv_general_dilated(x, w, (1, 1), "SAME", **options)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


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
    def loss(x, w):
      return jnp.sum(jnp.sin(convolve(x, w)))

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


def test_a_frozen_batch_norm_is_that_of_evaluation(x64):
  x = np.random.default_rng(0).standard_normal((4, 5, 5, 3))
  learnt = {"mean": np.arange(3.0), "var": 1 + np.arange(3.0)}
  variables = {"params": {"scale": np.full(3, 2.0), "bias": np.ones(3)}, "batch_stats": learnt}
  norm = BatchNorm(decay=0.9, epsilon=1e-5, frozen=True, name="bn2")

  def apply(params, x):
    y, new = norm.apply(variables | {"params": params}, x, mutable=["batch_stats"])
    return jnp.sum(y**2), (y, new)

  (_, (y, new)), (dparams, dx) = jax.value_and_grad(apply, (0, 1), has_aux=True)(
    variables["params"], x
  )
  factor = 2 / np.sqrt(1 + np.arange(3) + 1e-5)
  np.testing.assert_allclose(y, (x - np.arange(3)) * factor + 1, rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(dx, 2 * y * factor, rtol=1e-12)
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(dparams))
  jax.tree.map(np.testing.assert_array_equal, dict(new["batch_stats"]), learnt)
  with pytest.raises(UserError, match="must be named bn, bn1 or x_bn, not 'other'"):
    norm.copy(name="other").init(jax.random.key(0), x)
