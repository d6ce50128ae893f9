"""Convolutions with what stands around them in a unit, computed at once by kernels of our own.

    y = relu(x * factor + offset) convolved with a kernel, + add

In a unit, factor and offset are those of a BN, and the moments of y serve the next BN. So a map is
written once, where BN, ReLU, convolution and addition would each read one and write one; likewise
in the backward pass.
"""

from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax import native
from resnet_jax.models.convolution import Geometry, Pair, canonical, canonical_dw, canonical_dx
from resnet_jax.models.operation import Operation

Array = jax.Array
Affine = tuple[Array, Array]  # factor and offset, each [N, C]
NO_AFFINE = (None, None)
Moments = tuple[Array, Affine] | None  # y, and factor and offset that its moments' gradients are


def surrounded(
  x: Array,
  kernel: Array,
  affine: Affine | None = None,
  add: Array | None = None,
  *,
  relu: bool = False,
  attached: bool = True,
  at: Geometry,
) -> tuple[Array, Array, Array, Array]:
  """y = relu(x * factor + offset) convolved with the kernel, + add.

  Args:
    x: [N, H, W, C], float32 or float64, as all else.
    kernel: [KH, KW, C, O], O a multiple of `native.lanes`.
    affine: factor and offset, each [N, C], a multiple of `native.lanes` as well.
    add: [N, P, Q, O].
    relu: whether there is a ReLU; only behind factor and offset.
    attached: whether the moments have a gradient; else they get one by `moments_of`.
    at: the geometry of the convolution.

  Returns:
    y [N, P, Q, O]; the mean [N, O] of y over each image; the sum [N, O] of the squares about it;
    and x: the gradient of what reads it there is added within the backward pass of this.
  """
  y, mean, squares, x = _forward(x, kernel, affine, add, relu=relu, attached=attached, at=at)
  return y, mean, squares, x


# Below, `_compute` is by the kernels, `_defined` the same by JAX's operations.


def _compute(
  x: Array,
  kernel: Array,
  affine: Affine | None,
  add: Array | None,
  *,
  relu: bool,
  attached: bool,  # concerns the gradient alone
  at: Geometry,
) -> list[Array]:
  moves = native.Window(at.strides, at.dilation, tuple(low for low, _ in at.padding))
  out = at.size(x.shape, kernel.shape)
  arrays = x, affine or NO_AFFINE, kernel, add
  return [*native.forward(*arrays, relu=relu, window=moves, out=out), x]


def _defined(
  x: Array,
  kernel: Array,
  affine: Affine | None,
  add: Array | None,
  *,
  relu: bool,
  attached: bool = True,
  at: Geometry,
) -> list[Array]:
  y = canonical(activated(x, affine, relu), kernel, at=at)
  y = y if add is None else y + add
  moments = defined_moments(y)
  return [y, *(moments if attached else jax.lax.stop_gradient(moments)), x]


def activated(x: Array, affine: Affine | None, relu: bool) -> Array:
  """relu(x * factor + offset)."""
  z = x if affine is None else x * affine[0][:, None, None] + affine[1][:, None, None]
  return jax.nn.relu(z) if relu else z


def _backward(
  values: Any,
  results: Any,
  gradients: Any,
  wanted: Any,
  *,
  relu: bool,
  attached: bool,
  at: Geometry,
) -> tuple[Any, ...]:
  x, kernel, affine, _ = values
  dy, of_mean, of_squares, passed = gradients
  if dy is None:
    dy = jnp.zeros((x.shape[0], *at.size(x.shape, kernel.shape), kernel.shape[3]), x.dtype)
  from_moments = None
  if attached and (of_mean is not None or of_squares is not None):
    y, mean = results
    from_moments = y, _affine_of_moments(y, mean, of_mean, of_squares)
  dx = dkernel = add = None
  of_affine: list[Any] = [None, None]
  if wanted[0] or any(wanted[2] or ()):
    before = None if affine is None else (x, affine)
    dx, *of_affine = _dx(
      dy, kernel, from_moments, before, passed, relu=relu, at=at, size=x.shape[1:3]
    )
  if wanted[1]:
    size = kernel.shape[:2]
    (dkernel,) = _dw(x, dy, affine, from_moments, relu=relu, at=at, size=size)
  if wanted[3]:
    add = whole(dy, from_moments)
  return dx, dkernel, tuple(of_affine) if affine else None, add


def whole(dy: Array, from_moments: Moments) -> Array:
  """The gradient of y: dy, and what comes by way of the moments."""
  return dy if from_moments is None else dy + activated(*from_moments, False)


def _compute_dx(
  dy: Array,
  kernel: Array,
  from_moments: Moments,
  before: tuple[Array, Affine] | None,
  passed: Array | None,
  *,
  relu: bool,
  at: Geometry,
  size: Pair,
) -> list[Array]:
  if kernel.shape[2] % native.lanes(str(dy.dtype)):
    return _defined_dx(dy, kernel, from_moments, before, passed, relu=relu, at=at, size=size)
  # Position i of x met weight k of the kernel in the window (i + before - k * dilation) / stride.
  dilation, low = (tuple(-step for step in at.dilation), tuple(-low for low, _ in at.padding))
  moves = native.Window((1, 1), dilation, low, spread=at.strides)
  arrays = dy, *(from_moments or (None, NO_AFFINE)), kernel, *(before or (None, NO_AFFINE)), passed
  found = native.backward(*arrays, relu=relu, window=moves, size=size)
  return found[: 1 if before is None else 3]


def _defined_dx(
  dy: Array,
  kernel: Array,
  from_moments: Moments,
  before: tuple[Array, Affine] | None,
  passed: Array | None,
  *,
  relu: bool,
  at: Geometry,
  size: Pair,
) -> list[Array]:
  shape = (dy.shape[0], *size, kernel.shape[2])
  dx, rest = canonical_dx(shape, kernel, whole(dy, from_moments), at=at), []
  if before is not None:
    x, affine = before
    if relu:
      dx = jnp.where(activated(x, affine, False) > 0, dx, 0)
    rest = [(dx * x).sum((1, 2)), dx.sum((1, 2))]
    dx = dx * affine[0][:, None, None]
  return [dx if passed is None else dx + passed, *rest]


def _compute_dw(
  x: Array,
  dy: Array,
  affine: Affine | None,
  from_moments: Moments,
  *,
  relu: bool,
  at: Geometry,
  size: Pair,
) -> list[Array]:
  moves = native.Window(at.strides, at.dilation, tuple(low for low, _ in at.padding))
  arrays = x, affine or NO_AFFINE, dy, *(from_moments or (None, NO_AFFINE))
  return native.weights(*arrays, relu=relu, window=moves, size=size)


def _defined_dw(
  x: Array,
  dy: Array,
  affine: Affine | None,
  from_moments: Moments,
  *,
  relu: bool,
  at: Geometry,
  size: Pair,
) -> list[Array]:
  shape = (*size, x.shape[3], dy.shape[3])
  return [canonical_dw(activated(x, affine, relu), shape, whole(dy, from_moments), at=at)]


def moments_of(x: Array, moments: tuple[Array, Array]) -> tuple[Array, Array]:
  """The moments of x, which are known: the mean [N, C] over each image, and the sum of the squares
  about it. Their gradient goes to x from here, and not by way of what has computed them.
  """
  mean, squares = _moments(x, *jax.lax.stop_gradient(moments))
  return mean, squares


def _moments_backward(values: Any, results: Any, gradients: Any, wanted: Any) -> tuple[Any, ...]:
  x, mean = values[0], results[0]
  return activated(x, _affine_of_moments(x, mean, *gradients), False), None, None


def _affine_of_moments(x: Array, mean: Array, of_mean: Any, of_squares: Any) -> Affine:
  """Factor and offset, by which the gradients of the moments of x are one of x."""
  factor = 2 * (jnp.zeros_like(mean) if of_squares is None else of_squares)
  offset = (0 if of_mean is None else of_mean / (x.shape[1] * x.shape[2])) - factor * mean
  return factor, offset


def defined_moments(x: Array, *_: Array) -> list[Array]:
  """The moments of x, by its values."""
  mean = x.mean((1, 2))
  return [mean, jnp.square(x - mean[:, None, None]).sum((1, 2))]


_moments = Operation(
  "moments", lambda _, *moments: moments, defined_moments, _moments_backward, lambda: 1
)
_forward = Operation(
  "surrounded_convolution", _compute, _defined, _backward, lambda attached, **_: 2 * attached
)
_dx = Operation("surrounded_convolution_dx", _compute_dx, _defined_dx)
_dw = Operation("surrounded_convolution_dw", _compute_dw, _defined_dw)
