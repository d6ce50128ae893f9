"""Operations that are linear in each of two arrays, with derivatives of our own.

A `jax.custom_vjp` has one derivative, in reverse. A primitive of JAX has all of them, in every
order of forward and reverse: JAX derives the forward ones from the operation, which is linear, and
transposes them with the two functions given here. These call the operation again, or others that
JAX can differentiate, so the derivatives of a derivative are computed the same way.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Operation = Callable[..., jax.Array]


def bilinear(name: str, apply: Operation, of_x: Operation, of_kernel: Operation) -> Operation:
  """Makes `apply` an operation whose derivatives are `of_x` and `of_kernel`.

  Args:
    name: of the operation in a jaxpr.
    apply: `(x, kernel, **static) -> y`, written with JAX's operations. The first axis of x is that
      of the examples. The static arguments have keywords only, and can be hashed.
    of_x: `(shape of x, kernel, dy, **static) -> dx`.
    of_kernel: `(x, shape of kernel, dy, **static) -> dkernel`.

  Returns:
    A function with the arguments of `apply`.
  """
  operation = Primitive(name)

  def abstract(x: Any, kernel: Any, **static: Any) -> Any:
    return jax.make_jaxpr(functools.partial(apply, **static))(x, kernel).out_avals[0]

  def batch(
    arrays: Sequence[jax.Array], axes: Sequence[Any], **static: Any
  ) -> tuple[jax.Array, int]:
    if axes[1] is not None:
      return jax.vmap(functools.partial(apply, **static), axes)(*arrays), 0
    x = jnp.moveaxis(arrays[0], axes[0], 0)  # one kernel: they are more examples
    y = operation.bind(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), arrays[1], **static)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0

  operation.def_impl(jax.jit(apply, static_argnames=inspect.getfullargspec(apply).kwonlyargs))
  operation.def_abstract_eval(abstract)
  mlir.register_lowering(operation, mlir.lower_fun(apply, multiple_results=False))
  batching.primitive_batchers[operation] = batch
  ad.defbilinear(
    operation,
    lambda dy, x, kernel, **static: of_x(x.aval.shape, kernel, dy, **static),
    lambda dy, x, kernel, **static: of_kernel(x, kernel.aval.shape, dy, **static),
  )
  bind: Operation = operation.bind
  return bind
