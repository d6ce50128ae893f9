"""Convolutions, and the ways of computing them that are fast on a CPU.

Arrays are NHWC, kernels HWIO.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from resnet_jax.models.bilinear import bilinear
from resnet_jax.models.operation import KEPT

NHWC = ("NHWC", "HWIO", "NHWC")
Pair = tuple[int, int]


class Geometry(NamedTuple):
  """How a kernel moves over the rows and the columns of a map."""

  strides: tuple[int, ...]
  padding: tuple[Pair, ...]  # zeros before and behind
  dilation: tuple[int, ...]  # positions from one weight of the kernel to the next

  def size(self, shape: Sequence[int], kernel_shape: Sequence[int]) -> Pair:
    """The rows and columns that the kernel makes of a map of that shape."""
    window = _window(kernel_shape, self.dilation)
    sides = zip(shape[1:3], self.padding, window, self.strides, strict=True)
    rows, columns = [(size + sum(pad) - reach) // step + 1 for size, pad, reach, step in sides]
    return rows, columns


def convolution(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[Pair],
  dimension_numbers: Any = NHWC,
  **options: Any,
) -> jax.Array:
  """The library's convolution, on a CPU a way of it that is fast there; `nn.Conv` can call it.

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


def canonical_dx(
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


def canonical_dw(x: jax.Array, shape: Sequence[int], dy: jax.Array, *, at: Geometry) -> jax.Array:
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
canonical = bilinear("convolution", _canonical, canonical_dx, canonical_dw)
