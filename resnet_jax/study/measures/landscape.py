"""The loss around trained weights, and its curvature there.

[Li] is Visualizing the Loss Landscape of Neural Nets (1712.09913): in a ReLU net with BN the length
of a filter means nothing by itself, so a random direction is given the lengths of the weights'.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from resnet_jax.study.net import Net
from resnet_jax.study.spectra import lanczos
from resnet_jax.study.words import study
from resnet_jax.training import optim

Objective = Callable[[Any], jax.Array]


@study("landscape")
def landscape(
  net: Net, directions: int = 5, points: int = 41, iterations: int = 40
) -> Iterator[dict[str, Any]]:
  """A row for each direction and alpha, then one for each Ritz value of the Hessian.

  - `direction`, `alpha`, `loss`: at weights + alpha direction
  - `order`, `value`, `bound`: of Lanczos, from the largest on; an eigenvalue lies so near to it
  - `eigenvalue`: the value, if it is sure to a tenth
  - `ended`: how Lanczos ended, see `spectra.Ritz`

  The loss is that of the batch in evaluation mode, with the running averages.
  """
  loss, params = objective(net), net.variables["params"]
  alphas = jnp.linspace(-1, 1, points)

  @jax.jit
  def curve(params: Any, along: Any) -> jax.Array:
    return jax.lax.map(lambda alpha: loss(optax.tree.add_scale(params, alpha, along)), alphas)

  for number in range(directions):
    along = jax.jit(direction)(jax.random.fold_in(net.key, number + 1), params)
    for alpha, value in zip(alphas.tolist(), curve(params, along).tolist(), strict=True):
      yield {"direction": number + 1, "alpha": alpha, "loss": value}
  hessian = jax.jit(lambda params, v: product(loss, params, v))
  key = jax.random.fold_in(net.key, 0)
  found = lanczos(lambda v: hessian(params, v), params, key, iterations)
  for order, (value, bound) in enumerate(zip(found.values, found.bounds, strict=True)):
    sure = {"eigenvalue": value} if bound <= 0.1 * abs(value) else {}
    yield {"order": order + 1, "value": value, "bound": bound, "ended": found.ended} | sure


def objective(net: Net) -> Objective:
  """The loss of the batch in evaluation mode, as a function of the parameters."""
  learner, statistics, batch = net.learner, net.variables["batch_stats"], net.batch

  def loss(params: Any) -> jax.Array:
    outputs = learner.model.apply({"params": params, "batch_stats": statistics}, batch.images)
    return learner.task.loss(outputs, batch)[0]

  return loss


def product(loss: Objective, params: Any, v: Any) -> Any:
  """The Hessian of the loss at the parameters, times v: forward over reverse."""
  return jax.jvp(jax.grad(loss), (params,), (v,))[1]


def direction(key: jax.Array, params: Any) -> Any:
  """A random tree like `params`, of which each filter is as long as the weights' ([Li] 4).

  What is no kernel, biases and BN, is zero. The last axis of a kernel tells its filters apart; the
  kernels of a stage's later units are stacked on a leading one.
  """

  def scaled(path: Any, drawn: jax.Array, weights: jax.Array, kernel: bool) -> jax.Array:
    if not kernel:
      return jnp.zeros_like(weights)
    stacked = any(part.key == "rest" for part in path)
    axes = tuple(range(stacked, weights.ndim - 1))
    return drawn * jnp.sqrt(squares(weights, axes) / squares(drawn, axes))

  def squares(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return jnp.sum(jnp.square(array), axes, keepdims=True)

  flat, tree = ravel_pytree(params)
  drawn = tree(jax.random.normal(key, flat.shape, flat.dtype))  # a draw a leaf compiles for minutes
  return jax.tree_util.tree_map_with_path(scaled, drawn, params, optim.kernels(params))
