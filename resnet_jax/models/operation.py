"""Operations that are computed in one way and defined in another.

Kernels of our own compute an operation and its backward pass; JAX's operations define it. Whatever
else is asked for, JAX derives from the definition: other derivatives, and what `jax.vmap` maps.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

KEPT = "kept"  # names what the derivative should not compute again under model.remat=norm
Function = Callable[..., Sequence[Any]]


class Operation:
  """What `compute` computes, with the derivatives `backward`, or those of `definition`.

  Call it as `compute`.

  Args:
    name: of the operation in a jaxpr.
    compute: `(*values, **static) -> arrays`. A value is an array, a tuple of arrays, or None; the
      static arguments can be hashed.
    definition: the same, by JAX's operations.
    backward: `(values, results, gradients, wanted, **static)`, with the gradients of the results,
      None for zeros; returns those of the values. `wanted` says in their form which are used.
    keeps: `(**static) -> count`, how many of the results, the first ones, `backward` gets.
  """

  def __init__(
    self,
    name: str,
    compute: Function,
    definition: Function,
    backward: Function | None = None,
    keeps: Callable[..., int] = lambda **_: 0,
  ):
    self._compute, self._definition = compute, definition
    self._backward, self._keeps = backward, keeps
    # Its value, and how that changes with its arrays, which is linear in their changes.
    self._value, self._change = Primitive(name), Primitive(f"{name}_change")
    _register(self._value, lambda *arrays, steps, **_: jaxpr_as_fun(steps)(*arrays), self._defined)
    _register(self._change, self._changed, self._changed)
    ad.primitive_jvps[self._value] = self._jvp
    ad.primitive_jvps[self._change] = self._jvp_of_change
    ad.primitive_transposes[self._change] = self._transpose

  def __call__(self, *values: Any, **static: Any) -> list[jax.Array]:
    arrays: list[Any]
    form: Any
    arrays, form = jax.tree.flatten(values)
    # Where JAX sees them: what is partitioned by a function of ours needs the devices.
    steps = jax.make_jaxpr(lambda *some: self._compute(*form.unflatten(some), **static))(*arrays)
    found: list[jax.Array] = self._value.bind(
      *arrays, steps=steps, form=form, static=tuple(static.items())
    )
    return found

  def _defined(self, *arrays: Any, steps: Any, form: Any, static: Any) -> list[Any]:
    return list(self._definition(*form.unflatten(arrays), **dict(static)))

  def _changed(self, *arrays: Any, moved: tuple[bool, ...], **params: Any) -> list[Any]:
    """The changes of the results; takes the arrays, the kept results, the changes of those arrays
    that move.
    """
    values = list(arrays[: len(moved)])
    moving = [number for number, moves in enumerate(moved) if moves]

    def of_moving(*some: Any) -> list[Any]:
      for number, one in zip(moving, some, strict=True):
        values[number] = one
      return self._defined(*values, **params)

    start, changes = [values[number] for number in moving], list(arrays[-len(moving) :])
    found: list[Any] = jax.jvp(of_moving, start, changes)[1]
    return found

  def _jvp(self, arrays: Any, tangents: Any, **params: Any) -> Any:
    results = [checkpoint_name(one, KEPT) for one in self._value.bind(*arrays, **params)]
    moved = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
    changes = [tangent for tangent in tangents if not isinstance(tangent, ad.Zero)]
    kept = results[: self._keeps(**dict(params["static"]))]
    how = self._changed if self._backward is None else self._change.bind
    return results, how(*arrays, *kept, *changes, moved=moved, **params)

  def _jvp_of_change(self, arrays: Any, tangents: Any, **params: Any) -> Any:
    tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
    _, changes = jax.jvp(functools.partial(self._changed, **params), list(arrays), tangents)
    return self._change.bind(*arrays, **params), changes

  def _transpose(
    self, gradients: Any, *arrays: Any, moved: Any, steps: Any, form: Any, static: Any
  ) -> list[Any]:
    count, changes = len(moved), arrays[-sum(moved) :]
    values, results = form.unflatten(arrays[:count]), arrays[count : -len(changes)]
    given = [None if isinstance(one, ad.Zero) else one for one in gradients]
    asked = iter([ad.is_undefined_primal(one) for one in changes])
    wanted = form.unflatten([moves and next(asked) for moves in moved])
    assert self._backward is not None
    found = form.flatten_up_to(self._backward(values, results, given, wanted, **dict(static)))
    fixed = [None] * (len(arrays) - len(changes))
    return fixed + [one for one, moves in zip(found, moved, strict=True) if moves]


def _register(primitive: Primitive, compute: Function, mapped: Function) -> None:
  """Tells JAX how a primitive is computed, and by what it is mapped; both take its parameters."""
  primitive.multiple_results = True

  @functools.cache
  def compiled(params: tuple[tuple[str, Any], ...]) -> Function:
    return jax.jit(functools.partial(compute, **dict(params)))

  def batch(arrays: Sequence[Any], axes: Sequence[Any], **params: Any) -> Any:
    results = jax.vmap(functools.partial(mapped, **params), axes)(*arrays)
    return results, [0] * len(results)

  primitive.def_impl(lambda *arrays, **params: compiled(tuple(params.items()))(*arrays))
  primitive.def_abstract_eval(lambda *_, steps, **params: steps.out_avals)
  mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=True))
  batching.primitive_batchers[primitive] = batch
