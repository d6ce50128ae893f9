"""The layers that units are made of: convolution and batch normalization.

Arrays are NHWC, kernels HWIO. Convolutions have no bias (BN or a pre-activation follows) and pad
kernel // 2 zeros on both sides, as Caffe and Torch do; "SAME" would pad one side for stride 2.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from resnet_jax.models.bilinear import bilinear
from resnet_jax.models.initializers import KERNEL

NHWC = ("NHWC", "HWIO", "NHWC")
KEPT = "kept"  # names what the derivative should not compute again under model.remat=norm


def convolution(x, kernel, strides: Sequence[int], padding, **options):
  """What `nn.Conv` calls: the library's convolution, on a CPU one that is fast there."""
  apply = _for_cpu if jax.default_backend() == "cpu" else lax.conv_general_dilated
  return checkpoint_name(apply(x, kernel, strides, padding, **options), KEPT)


def _for_cpu(x, kernel, strides, padding, **_):
  """Products for 1x1 kernels, and canonical gradients for the others.

  XLA:CPU finds its fast convolution only for NHWC x HWIO -> NHWC, and inside a loop it does not
  rewrite other layouts into it: there the two gradients JAX derives run up to 60 times slower.
  """
  if kernel.shape[:2] == (1, 1):
    return product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
  return canonical(x, kernel, strides=tuple(strides), padding=tuple(map(tuple, padding)))


def _product(x, kernel):
  """A 1x1 convolution as the matrix product it is: [..., C] by [C, O]."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _product_dx(_, kernel, dy):
  return product(dy, kernel.T)


def _product_dw(x, _, dy):
  """dw with the fewer channels as its rows: written the other way it takes twice as long.

  The barrier keeps XLA from turning it back.
  """
  rows, columns = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
  over_positions = (((0,), (0,)), ((), ()))
  if rows.shape[1] <= columns.shape[1]:
    return lax.dot_general(rows, columns, over_positions)
  return lax.optimization_barrier(lax.dot_general(columns, rows, over_positions)).T


def _canonical(x, kernel, *, strides, padding):
  """If the map is smaller than the kernel, XLA swaps their roles and leaves the fast form; with
  the padding behind a barrier it cannot.
  """
  if any(size < k for size, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)):
    edges = [(low, high, 0) for low, high in ((0, 0), *padding, (0, 0))]
    x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), edges))
    padding = "VALID"
  return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


def _canonical_dx(shape, kernel, dy, *, strides, padding):
  """Zeros between the rows of dy, around it, and by the flipped kernel, channels swapped."""
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
  outside = [
    (k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape[:2], padding, strict=True)
  ]
  dy = _spread(dy, shape, kernel.shape, strides, padding)
  return canonical(dy, flipped, strides=(1, 1), padding=tuple(outside))


def _canonical_dw(x, shape, dy, *, strides, padding):
  """x as [C, H, W, N] by dy as [H, W, N, O], zeros between its rows."""
  dy = _spread(dy, x.shape, shape, strides, padding)
  x, dy = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
  return canonical(x, dy, strides=(1, 1), padding=padding).transpose(1, 2, 0, 3)


def _spread(dy, shape, kernel_shape, strides, padding):
  """Undoes the stride: puts the zeros back, also where the last window stopped short of the edge.

  `shape` is that of x.
  """
  edges = []
  for axis, stride in enumerate(strides):
    full = shape[1 + axis] + sum(padding[axis]) - kernel_shape[axis] + 1
    reached = (dy.shape[1 + axis] - 1) * stride + 1
    edges.append((0, full - reached, stride - 1))
  return lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


product = bilinear("product", _product, _product_dx, _product_dw)
canonical = bilinear("convolution", _canonical, _canonical_dx, _canonical_dw)


def Conv(features: int, kernel: int, strides: int, config, name: str, bias: float | None = None):
  """An `nn.Conv` of `kernel` x `kernel`; without a bias, or with one that begins at `bias`."""
  dtype = jnp.dtype(config.dtype)
  return nn.Conv(
    features,
    (kernel, kernel),
    strides=(strides, strides),
    padding=[(kernel // 2, kernel // 2)] * 2,
    use_bias=bias is not None,
    kernel_init=KERNEL[config.init],
    bias_init=nn.initializers.constant(bias or 0.0),
    dtype=dtype,
    param_dtype=master_dtype(dtype),
    conv_general_dilated=convolution,
    name=name,
  )


def master_dtype(dtype) -> Any:
  """Parameters and statistics are float32, or float64 where the computation is."""
  return jnp.promote_types(jnp.float32, dtype)


class BatchNorm(nn.Module):
  """Batch normalization [B] over groups of `group_size` consecutive examples.

  In training each group of the batch is normalized by its own mean and biased variance, as the
  paper's two GPUs did with 64 examples each, whatever the number of devices here; 0 makes the
  batch one group. The running statistics move towards the mean over groups by `1 - decay`.
  Statistics are float32 (or float64); the result has the dtype of `x`, of shape [N, H, W, C].
  """

  decay: float
  epsilon: float
  group_size: int = 0
  use_running_average: bool = False

  @nn.compact
  def __call__(self, x):
    channels, dtype = x.shape[-1], master_dtype(x.dtype)
    scale = self.param("scale", nn.initializers.ones, (channels,), dtype)
    bias = self.param("bias", nn.initializers.zeros, (channels,), dtype)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), dtype)
    running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), dtype)

    if self.use_running_average:
      factor = scale * lax.rsqrt(running_var.value + self.epsilon)
      return (x * factor + (bias - running_mean.value * factor)).astype(x.dtype)

    size = self.group_size or x.shape[0]
    groups = x.reshape(x.shape[0] // size, size, *x.shape[1:]).astype(dtype)
    # One reading of x gives both sums, where the sum of (x - mean)^2 needs the mean first; about
    # the running mean, so that little is lost in the difference where x is far from zero.
    shifted = groups - running_mean.value
    mean, square = (a.mean((1, 2, 3), keepdims=True) for a in (shifted, jnp.square(shifted)))
    # Kept as they are: the derivative of what follows asks for them, and would read x for them.
    mean, square = checkpoint_name(mean, KEPT), checkpoint_name(square, KEPT)
    var = jnp.maximum(square - jnp.square(mean), 0)
    mean = running_mean.value + mean
    if not self.is_initializing():
      for running, new in ((running_mean, mean), (running_var, var)):
        running.value = self.decay * running.value + (1 - self.decay) * new.mean((0, 1, 2, 3))
    factor = scale * lax.rsqrt(var + self.epsilon)
    y = groups * factor + (bias - mean * factor)
    return y.reshape(x.shape).astype(x.dtype)
