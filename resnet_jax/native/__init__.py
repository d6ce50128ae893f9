"""Convolutions on a CPU, with what stands around them, by kernels of our own (`convolution.cc`).

They are compiled for this processor at their first use, if there is a C++ compiler, and kept.
Arrays are NHWC and HWIO, factors and offsets [N, C], float32 or float64; an array may be None where
it says so. A call is shared out over devices by the examples.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from resnet_jax.native.library import lanes as lanes

Pair = tuple[int, int]
Array = jax.Array
Affine = tuple[Array, Array] | tuple[None, None]  # factor and offset


class Window(NamedTuple):
  """How a kernel moves over the rows and the columns of an image: result r takes by weight i the
  value (r * stride - before + i * dilation) / spread, where that is whole and there is one.
  """

  strides: tuple[int, ...]
  dilation: tuple[int, ...]
  before: tuple[int, ...]
  spread: tuple[int, ...] = (1, 1)


class Call(NamedTuple):
  """A call of a kernel, apart from its arrays."""

  name: str
  present: tuple[bool, ...]  # which of the arrays that it can take are there
  axes: tuple[str, ...]  # of those, and ...
  results: tuple[str, ...]  # ... of the results, by letters of which n is that of the examples
  shapes: tuple[tuple[int, ...], ...]  # of the results
  relu: bool
  window: Window


def forward(
  x: Array,
  affine: Affine,
  kernel: Array,
  add: Array | None,
  *,
  relu: bool,
  window: Window,
  out: Pair,
) -> list[Array]:
  """y [N, *out, O] = relu(x * factor + offset) convolved with the kernel, + add.

  Also the mean [N, O] of y over an image, and the sum of the squares about it.
  """
  arrays = [("nhwc", x), *_under("nc", affine), ("ijco", kernel), ("npqo", add)]
  of_outputs = x.shape[0], kernel.shape[3]
  results = [("npqo", (x.shape[0], *out, kernel.shape[3])), ("no", of_outputs), ("no", of_outputs)]
  return _call("forward", arrays, results, relu, window)


def backward(
  dy: Array,
  y: Array | None,
  affine_y: Affine,
  kernel: Array,
  x: Array | None,
  affine: Affine,
  add: Array | None,
  *,
  relu: bool,
  window: Window,
  size: Pair,
) -> list[Array]:
  """dx [N, *size, C] of a `forward` from dy + factor_y * y + offset_y, + add.

  Also the gradients [N, C] of factor and offset.
  """
  arrays = [("npqo", dy), ("npqo", y), *_under("no", affine_y), ("ijco", kernel)]
  arrays += [("nhwc", x), *_under("nc", affine), ("nhwc", add)]
  of_channels = dy.shape[0], kernel.shape[2]
  dx = dy.shape[0], *size, kernel.shape[2]
  results = [("nhwc", dx), ("nc", of_channels), ("nc", of_channels)]
  return _call("backward", arrays, results, relu, window)


def weights(
  x: Array,
  affine: Affine,
  dy: Array,
  y: Array | None,
  affine_y: Affine,
  *,
  relu: bool,
  window: Window,
  size: Pair,
) -> list[Array]:
  """The gradient [*size, C, O] of the kernel of a `forward` from dy + factor_y * y + offset_y."""
  arrays = [("nhwc", x), *_under("nc", affine), ("npqo", dy), ("npqo", y), *_under("no", affine_y)]
  return _call("weights", arrays, [("ijco", (*size, x.shape[3], dy.shape[3]))], relu, window)


def _under(axes: str, pair: Affine) -> list[tuple[str, Array | None]]:
  return [(axes, array) for array in pair]


def _call(
  name: str,
  arrays: list[tuple[str, Array | None]],
  results: list[tuple[str, tuple[int, ...]]],
  relu: bool,
  window: Window,
) -> list[Array]:
  """Calls a kernel with the arrays, each under its axes, on this process's share of the devices."""
  given = [(axes, array) for axes, array in arrays if array is not None]
  present = tuple(array is not None for _, array in arrays)
  axes = tuple(axes for axes, _ in given)
  names, shapes = tuple(each for each, _ in results), tuple(shape for _, shape in results)
  call = Call(name, present, axes, names, shapes, relu, window)
  values = [array for _, array in given]
  sizes: dict[str, int] = {}
  for axis, size in zip("".join(axes), sum((array.shape for array in values), ()), strict=True):
    if sizes.setdefault(axis, size) != size:  # a kernel would read what is not there
      raise ValueError(f"axis {axis} of {axes} is {sizes[axis]} long and {size}")
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.manual_axes:  # within a shard_map, where nothing can be left to the partitioner
    free = tuple(axis for axis in mesh.axis_names if axis not in mesh.manual_axes)
    found: list[Array] = jax.shard_map(
      functools.partial(_share, call, free),
      in_specs=tuple(_spec(each, free) for each in axes),
      out_specs=[_spec(each, free) for each in names],
      axis_names=set(free),
      check_vma=False,
    )(*values)
    return found
  return list(_partitioned(call)(*values))


def _spec(axes: str, over: Any) -> PartitionSpec:
  """What shares an array out by its examples, if it has them, and in no other way."""
  return PartitionSpec(over) if axes.startswith("n") and over else PartitionSpec()


def _share(call: Call, over: Any, *arrays: Array) -> list[Array]:
  """The results from a device's examples; what is summed over all is summed over devices here, as
  nobody else does.
  """
  found = _on_a_device(call, *arrays)
  return [
    lax.psum(one, over) if over and not axes.startswith("n") else one
    for one, axes in zip(found, call.results, strict=True)
  ]


def _on_a_device(call: Call, *arrays: Array) -> list[Array]:
  """The kernel itself."""
  left, dtype, examples = list(arrays), arrays[0].dtype, arrays[0].shape[0]
  every = [left.pop(0) if here else jnp.zeros(0, dtype) for here in call.present]
  shapes = [
    jax.ShapeDtypeStruct((examples, *shape[1:]) if axes.startswith("n") else shape, dtype)
    for axes, shape in zip(call.results, call.shapes, strict=True)
  ]
  window = np.array(call.window, np.int64).ravel()
  kernel = jax.ffi.ffi_call(f"resnet_jax_{call.name}_{dtype}", shapes)
  return list(kernel(*every, relu=np.bool_(call.relu), window=window))


@functools.cache
def _partitioned(call: Call) -> Callable[..., list[Array]]:
  """The kernel as XLA's partitioner shares it out."""
  operation = custom_partitioning(functools.partial(_on_a_device, call))

  def examples(arrays: tuple[jax.ShapeDtypeStruct, ...]) -> Any:
    return next(iter(arrays[0].sharding.spec), None)

  def on(mesh: Any, every: tuple[str, ...], over: Any) -> list[NamedSharding]:
    return [NamedSharding(mesh, _spec(axes, over)) for axes in every]

  def partition(mesh: Any, arrays: tuple[jax.ShapeDtypeStruct, ...], _: Any) -> Any:
    over = examples(arrays)
    share = functools.partial(_share, call, over)
    return mesh, share, on(mesh, call.results, over), tuple(on(mesh, call.axes, over))

  sides = [", ".join(" ".join(axes) for axes in side) for side in (call.axes, call.results)]
  # All axes but n stay whole; in the order in which they appear, as MLIR wants them.
  others = dict.fromkeys(axis for axis in "".join(call.axes + call.results) if axis != "n")
  operation.def_partition(
    partition=partition,
    infer_sharding_from_operands=lambda mesh, arrays, _: on(mesh, call.results, examples(arrays)),
    sharding_rule=" -> ".join(sides),
    need_replication_factors=tuple(others),
  )
  return operation
