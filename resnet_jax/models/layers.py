"""The layers that units are made of: convolution and batch normalization.

Arrays are NHWC, kernels HWIO. Convolutions have no bias (BN or a pre-activation follows) and pad
kernel // 2 zeros on both sides, as Caffe and Torch do; "SAME" would pad one side for stride 2.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from resnet_jax.errors import UserError
from resnet_jax.models.bilinear import bilinear
from resnet_jax.models.initializers import KERNEL

NHWC = ("NHWC", "HWIO", "NHWC")
BN = r"(?:.*[/_])?bn\d*"  # the path of a BN, the names of modules joined by slashes
KEPT = "kept"  # names what the derivative should not compute again under model.remat=norm
Pair = tuple[int, int]


class Geometry(NamedTuple):
  """How a kernel moves over the rows and the columns of a map."""

  strides: tuple[int, ...]
  padding: tuple[Pair, ...]  # zeros before and behind
  dilation: tuple[int, ...]  # positions from one weight of the kernel to the next


def convolution(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[Pair],
  dimension_numbers: Any = NHWC,
  **options: Any,
) -> jax.Array:
  """What `nn.Conv` calls: the library's convolution, on a CPU one that is fast there.

  Takes what `lax.conv_general_dilated` takes, with the same result.
  """
  apply = _for_cpu if jax.default_backend() == "cpu" else lax.conv_general_dilated
  options["dimension_numbers"] = dimension_numbers
  y: jax.Array = checkpoint_name(apply(lhs, rhs, window_strides, padding, **options), KEPT)
  return y


def _for_cpu(
  x: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: str | Sequence[Pair],
  rhs_dilation: Sequence[int] | None = None,
  **options: Any,
) -> jax.Array:
  """Products for 1x1 kernels, and canonical gradients for the others.

  XLA:CPU finds its fast convolution only for NHWC x HWIO -> NHWC, and inside a loop it does not
  rewrite other layouts into it: there the two gradients JAX derives run up to 60 times slower.
  Groups, other layouts, dilated inputs and the like are left to the library.
  """
  if _is_plain(x.shape, kernel.shape, **options):
    dilation = tuple(rhs_dilation or (1, 1))
    window = _window(kernel.shape, dilation)
    if isinstance(padding, str):
      padding = lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    edges = tuple((low, high) for low, high in padding)
    if kernel.shape[:2] == (1, 1) and edges == ((0, 0), (0, 0)):
      return product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])
    sizes = zip(x.shape[1:3], edges, window, strict=True)
    if all(size + sum(edge) >= reach for size, edge, reach in sizes):
      return canonical(x, kernel, at=Geometry(tuple(strides), edges, dilation))
    # A convolution of no positions has no gradients to write.
  return lax.conv_general_dilated(x, kernel, strides, padding, rhs_dilation=rhs_dilation, **options)


def _is_plain(
  shape: Sequence[int],
  kernel_shape: Sequence[int],
  dimension_numbers: Any,
  lhs_dilation: Sequence[int] | None = None,
  feature_group_count: int = 1,
  **others: Any,
) -> bool:
  """Whether a convolution is one over images, NHWC x HWIO -> NHWC, without further options."""
  if len(shape) != 4 or feature_group_count != 1 or set(lhs_dilation or (1,)) != {1}:
    return False
  layout = lax.conv_dimension_numbers(shape, kernel_shape, dimension_numbers)
  is_nhwc = layout == lax.conv_dimension_numbers(shape, kernel_shape, NHWC)
  return is_nhwc and all(value is None for value in others.values())


def _window(kernel_shape: Sequence[int], dilation: Sequence[int]) -> list[int]:
  """The rows and columns that a dilated kernel reaches over."""
  return [(size - 1) * step + 1 for size, step in zip(kernel_shape[:2], dilation, strict=True)]


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 1x1 convolution as the matrix product it is: [..., C] by [C, O]."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _product_dx(_: Sequence[int], kernel: jax.Array, dy: jax.Array) -> jax.Array:
  return product(dy, kernel.T)


def _product_dw(x: jax.Array, _: Sequence[int], dy: jax.Array) -> jax.Array:
  """dw with the fewer channels as its rows: written the other way it takes twice as long.

  The barrier keeps XLA from turning it back.
  """
  rows, columns = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
  over_positions = (((0,), (0,)), ((), ()))
  if rows.shape[1] <= columns.shape[1]:
    return lax.dot_general(rows, columns, over_positions)
  turned: jax.Array = lax.optimization_barrier(lax.dot_general(columns, rows, over_positions))
  return turned.T


def _canonical(x: jax.Array, kernel: jax.Array, *, at: Geometry) -> jax.Array:
  """If the map is smaller than the kernel, XLA swaps their roles and leaves the fast form; with
  the padding behind a barrier it cannot.
  """
  edges: str | tuple[Pair, ...] = at.padding
  if any(size < k for size, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)):
    around = [(low, high, 0) for low, high in ((0, 0), *at.padding, (0, 0))]
    x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), around))
    edges = "VALID"
  return lax.conv_general_dilated(
    x, kernel, at.strides, edges, rhs_dilation=at.dilation, dimension_numbers=NHWC
  )


def _canonical_dx(
  shape: Sequence[int], kernel: jax.Array, dy: jax.Array, *, at: Geometry
) -> jax.Array:
  """Zeros between the rows of dy, around it, and by the flipped kernel, channels swapped."""
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
  window = _window(kernel.shape, at.dilation)
  outside = tuple(
    (k - 1 - low, k - 1 - high) for k, (low, high) in zip(window, at.padding, strict=True)
  )
  dy = _spread(dy, shape, window, at)
  return canonical(dy, flipped, at=Geometry((1, 1), outside, at.dilation))


def _canonical_dw(x: jax.Array, shape: Sequence[int], dy: jax.Array, *, at: Geometry) -> jax.Array:
  """x as [C, H, W, N] by dy as [H, W, N, O], zeros between its rows; the weights of a dilated
  kernel lie `dilation` positions apart.
  """
  dy = _spread(dy, x.shape, _window(shape, at.dilation), at)
  x, dy = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
  return canonical(x, dy, at=Geometry(at.dilation, at.padding, (1, 1))).transpose(1, 2, 0, 3)


def _spread(dy: jax.Array, shape: Sequence[int], window: Sequence[int], at: Geometry) -> jax.Array:
  """Undoes the stride: puts the zeros back, also where the last window stopped short of the edge.

  `shape` is that of x.
  """
  edges = []
  for axis, stride in enumerate(at.strides):
    full = shape[1 + axis] + sum(at.padding[axis]) - window[axis] + 1
    reached = (dy.shape[1 + axis] - 1) * stride + 1
    edges.append((0, full - reached, stride - 1))
  return lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


product = bilinear("product", _product, _product_dx, _product_dw)
canonical = bilinear("convolution", _canonical, _canonical_dx, _canonical_dw)


def Conv(
  features: int,
  kernel: int,
  strides: int,
  config: Any,
  name: str,
  bias: float | None = None,
  dilation: int = 1,
) -> nn.Conv:
  """An `nn.Conv` of `kernel` x `kernel`; without a bias, or with one that begins at `bias`."""
  dtype = jnp.dtype(config.dtype)
  return nn.Conv(
    features,
    (kernel, kernel),
    strides=(strides, strides),
    padding=[(kernel // 2 * dilation, kernel // 2 * dilation)] * 2,
    kernel_dilation=(dilation, dilation),
    use_bias=bias is not None,
    kernel_init=KERNEL[config.init],
    bias_init=nn.initializers.constant(bias or 0.0),
    dtype=dtype,
    param_dtype=master_dtype(dtype),
    conv_general_dilated=convolution,
    name=name,
  )


def master_dtype(dtype: Any) -> Any:
  """Parameters and statistics are float32, or float64 where the computation is."""
  return jnp.promote_types(jnp.float32, dtype)


class BatchNorm(nn.Module):
  """Batch normalization [B] over groups of `group_size` consecutive examples.

  In training each group of the batch is normalized by its own mean and biased variance, as the
  paper's two GPUs did with 64 examples each, whatever the number of devices here; 0 makes the
  batch one group. The running statistics move towards the mean over groups by `1 - decay`.
  Statistics are float32 (or float64); the result has the dtype of `x`, of shape [N, H, W, C].
  If `frozen`, it is the same in training as in evaluation, and scale and bias have no gradient.
  """

  decay: float
  epsilon: float
  group_size: int = 0
  frozen: bool = False
  use_running_average: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    channels, dtype = x.shape[-1], master_dtype(x.dtype)
    scale = self.param("scale", nn.initializers.ones, (channels,), dtype)
    bias = self.param("bias", nn.initializers.zeros, (channels,), dtype)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), dtype)
    running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), dtype)

    if self.frozen:
      if not re.fullmatch(BN, self.name or ""):  # the optimizer would not find it
        raise UserError(f"with norm.frozen a BN must be named bn, bn1 or x_bn, not {self.name!r}")
      scale, bias = lax.stop_gradient((scale, bias))
    if self.frozen or self.use_running_average:
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
    y: jax.Array = groups * factor + (bias - mean * factor)
    return y.reshape(x.shape).astype(x.dtype)
