"""Looking into the units of a network while it computes, without a line for it in the network.

def call(unit, following, x, *rest):
  y = following(x, *rest)
  unit.sow("intermediates", "size", jnp.sum(y * y))
  return y

with watch.units(call):
  _, found = model.apply(variables, images, mutable=["intermediates"])
sizes = by_unit(config, found["intermediates"])
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from resnet_jax.models.layers import written
from resnet_jax.models.units import ResidualUnit

Array = jax.Array


def units(
  call: Callable[..., Any] | None = None, add: Callable[..., Any] | None = None
) -> AbstractContextManager[Any]:
  """Within it every unit computes by way of these functions.

  Args:
    call: `(unit, following, x, number, key) -> y`, of which `following(x, number, key)` is what the
      unit computes. `unit.sow` and `unit.perturb` keep what is seen; stages stack it by unit.
    add: `(unit, h, weight, F) -> y`, in place of h + weight F(); f follows it. `F()` computes F(x),
      as `config.model.residual` takes it.
  """

  def interceptor(
    following: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext
  ):
    unit, method = context.module, context.method_name
    if call and isinstance(unit, ResidualUnit) and method == "__call__":
      x, *rest = arguments
      return call(unit, following, written(x), *rest, **keywords)
    if add and isinstance(unit, ResidualUnit) and method == "add":
      h, weight, F, take, key = arguments
      return add(
        unit, h, weight, lambda: F() if take == "always" else following(0, 1, F, take, key)
      )
    return following(*arguments, **keywords)

  return nn.intercept_methods(interceptor)


def backward(value: Array, share: Any) -> Array:
  """`value`, of whose gradient only this share goes back: 1 all of it, 0 none."""
  return share * value + lax.stop_gradient((1 - share) * value)


def size(x: Array) -> Array:
  """The Euclidean norm of an example, as the root of the mean square over the batch: []."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  most = jnp.max(jnp.abs(x))  # gradients that explode have no squares in float32
  safe = jnp.where(most > 0, most, 1)
  return safe * jnp.sqrt(jnp.sum(jnp.square(x / safe)) / x.shape[0])
