"""The layers that units are made of: convolution and batch normalization.

Arrays are NHWC, kernels HWIO. Convolutions have no bias (BN or a pre-activation follows) and pad
kernel // 2 zeros on both sides, as Caffe and Torch do; "SAME" would pad one side for stride 2.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from resnet_jax.models.initializers import KERNEL

NHWC = ("NHWC", "HWIO", "NHWC")


def convolution(x, kernel, strides: Sequence[int], padding, **options):
  """What `nn.Conv` calls. On a CPU: products for 1x1 kernels and canonical gradients.

  XLA:CPU finds its fast convolution only for NHWC x HWIO -> NHWC, and inside a loop it does not
  rewrite other layouts into it: there the two gradients JAX derives run up to 60 times slower.
  Accelerators keep the library's convolution and its gradients.
  """
  if jax.default_backend() != "cpu":
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)
  if kernel.shape[:2] == (1, 1):
    return _product(x[:, :: strides[0], :: strides[1]], kernel)
  return _canonical(x, kernel, tuple(strides), tuple(map(tuple, padding)))


def _product(x, kernel):
  """A 1x1 convolution as the matrix product it is."""
  return lax.dot_general(x, kernel[0, 0], (((3,), (0,)), ((), ())))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _canonical(x, kernel, strides, padding):
  return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


def _canonical_forward(x, kernel, strides, padding):
  return _canonical(x, kernel, strides, padding), (x, kernel)


def _canonical_backward(strides, padding, inputs, dy):
  """Both gradients as stride-1 convolutions NHWC x HWIO -> NHWC of `dy`, zeros between its rows.

  dx = pad(dy) * flipped kernel, channels swapped; dw = x as [C, H, W, N] * dy as [H, W, N, O].
  """
  x, kernel = inputs
  # Undo the stride: put the zeros back, also where the last window stopped short of the edge.
  spread = []
  for axis, stride in enumerate(strides):
    full = x.shape[1 + axis] + sum(padding[axis]) - kernel.shape[axis] + 1
    reached = (dy.shape[1 + axis] - 1) * stride + 1
    spread.append((0, full - reached, stride - 1))
  zero = jnp.zeros((), dy.dtype)
  dy = lax.pad(dy, zero, [(0, 0, 0), *spread, (0, 0, 0)])
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
  outside = [
    (k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape[:2], padding, strict=True)
  ]
  dx = lax.conv_general_dilated(dy, flipped, (1, 1), outside, dimension_numbers=NHWC)
  dw = lax.conv_general_dilated(
    x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3), (1, 1), padding, dimension_numbers=NHWC
  )
  return dx, dw.transpose(1, 2, 0, 3)


_canonical.defvjp(_canonical_forward, _canonical_backward)


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
    mean = groups.mean((1, 2, 3), keepdims=True)
    centred = groups - mean
    var = jnp.square(centred).mean((1, 2, 3), keepdims=True)
    if not self.is_initializing():
      for running, new in ((running_mean, mean), (running_var, var)):
        running.value = self.decay * running.value + (1 - self.decay) * new.mean((0, 1, 2, 3))
    y = centred * (scale * lax.rsqrt(var + self.epsilon)) + bias
    return y.reshape(x.shape).astype(x.dtype)
