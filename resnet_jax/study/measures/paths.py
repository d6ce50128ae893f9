"""The gradient by path length (Veit et al. 2016, "Residual networks behave like ensembles of
relatively shallow networks").

A gradient goes back through a unit by its F or by its shortcut. Through L units it is therefore the
sum over 2^L paths, of which binom(L, k) go through k of the F. Veit et al. sample paths of length k
and multiply the mean size of their gradients by the number of paths. Sizes, however, do not add up,
as the gradients of paths differ in direction. `by_length` computes the sum of the gradients of all
paths of each length, without sampling: the backward pass carries a gradient for each length, and
what goes back through an F moves on to the next length.

What a path contributes is its inner product with the whole gradient. `on_path` tells which units a
path goes through, if paths are weighted by that; over the units it adds up to the mean length.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from resnet_jax.errors import UserError
from resnet_jax.models.resnet import units_per_stage
from resnet_jax.models.units import ResidualUnit
from resnet_jax.study import watch
from resnet_jax.study.net import Net
from resnet_jax.study.words import require_units, requires, study

AXIS = "length"  # of vmap; the gradients of `by_length` lie along it
GAIN = 4.0  # of every F on a sampled path: without it float32 has no number for long ones
SAMPLED = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 100)


def require_shortcuts(config: Any) -> None:
  """Raises a UserError for the config of a network without shortcuts."""
  if config.model.shortcut == "none":
    raise UserError(
      "config.model.shortcut='none' leaves a single path, which goes through every F; take a net "
      "with shortcuts, such as model.shortcut='identity'"
    )


@study("paths")
@requires(require_units, require_shortcuts)
def paths(net: Net, longest: int = 100, draws: int = 8) -> Iterator[dict[str, Any]]:
  """A row for each length k up to `longest`, then one for each unit.

  g is the gradient of the loss at the first unit's input, and g_k the sum of the gradients of all
  paths of length k, so that g is the sum of all g_k.

  - `share`: what the paths of length k contribute to g, in percent: 100 <g_k, g> / <g, g>
  - `together`: the size of g_k over that of g
  - `path`: the size of the gradient of a single path over that of g: the mean of `draws` random
    paths, at some lengths
  - `counted`: `path` times the number of paths, in percent of its sum over the lengths
  - `on_path`: what the paths through the F of the unit `unit`, from 1, contribute to g, of 1
  - `passed`: the sum of `on_path` up to the unit; at the last one it is the mean of the lengths
  """
  x, units = nothing(net), sum(units_per_stage(net.config.model))
  lengths = range(min(units, longest) + 1)
  whole, parts = gradient(net, x), by_length(net, x, len(lengths))
  shares = 100 * np.tensordot(parts, whole, whole.ndim) / np.vdot(whole, whole)
  sampled = sampled_sizes(net, x, [k for k in SAMPLED if k in lengths], draws)
  counted = number_times_size(sampled, units, lengths)
  for k in lengths:
    yield {
      "length": k,
      "share": float(shares[k]),
      "together": size(parts[k]) / size(whole),
      "counted": float(counted[k]),
    } | ({"path": sampled[k] / size(whole)} if k in sampled else {})
  through = on_path(net, x, whole)
  for unit, passed in enumerate(np.cumsum(through)):
    yield {"unit": unit + 1, "on_path": float(through[unit]), "passed": float(passed)}


def number_times_size(sampled: dict[int, float], units: int, lengths: range) -> np.ndarray:
  """The number of paths times the size of one, in percent of their sum over the lengths.

  Args:
    sampled: the size at some lengths. A parabola through the logarithms gives the sizes, as single
      draws scatter; where fewer than three sizes are above 0, nothing is counted: NaN.
    units: of which paths take any.
    lengths: 0, 1 ...
  """
  logs = {k: math.log(of) for k, of in sampled.items() if of > 0}
  if len(logs) < 3:
    return np.full(len(lengths), np.nan)
  parabola = np.polyfit([*logs], [*logs.values()], 2)
  total = np.polyval(parabola, lengths) + [math.log(math.comb(units, k)) for k in lengths]
  products = np.exp(total - total.max())
  return 100 * products / products.sum()


def gradient(net: Net, x: jax.Array) -> np.ndarray:
  """g, [B, H, W, C], at the first unit's input + x."""
  return _numpy(jax.jit(jax.grad(loss_of(net)))(x, net.variables))


def by_length(net: Net, x: jax.Array, lengths: int) -> np.ndarray:
  """g_k of the lengths k = 0, 1 ..., [lengths, B, H, W, C], at the first unit's input + x."""

  def add(_: ResidualUnit, h: Any, weight: Any, F: Any) -> jax.Array:
    total: jax.Array = h + longer(weight * F())
    return total

  loss = loss_of(net, add)

  def of_a_length(is_none: jax.Array, x: jax.Array, variables: Any) -> jax.Array:
    # Above the last unit all of the gradient is that of the path through no F.
    found: jax.Array = jax.grad(lambda x: is_none * loss(x, variables))(x)
    return found

  mapped = jax.jit(jax.vmap(of_a_length, (0, None, None), axis_name=AXIS))
  return _numpy(mapped(jnp.eye(lengths, dtype=x.dtype)[0], x, net.variables))


@jax.custom_vjp
def longer(value: jax.Array) -> jax.Array:
  """`value`, whose gradient for each length moves on to the next; that of the last is dropped."""
  return value


def _moved(_: None, gradient: jax.Array) -> tuple[jax.Array]:
  lengths = lax.axis_size(AXIS)
  moved = lax.ppermute(gradient, AXIS, [(k, (k + 1) % lengths) for k in range(lengths)])
  return (jnp.where(lax.axis_index(AXIS) == 0, 0, moved),)


longer.defvjp(lambda value: (value, None), _moved)


def on_path(net: Net, x: jax.Array, whole: np.ndarray) -> np.ndarray:
  """<g_l, g> / <g, g> for each unit l, [units]: g_l is the gradient that goes through its F.

  `whole` is g. If the gradient through F_l is taken s times, <g_l, g> is the derivative by s of
  what arrives at the first unit, projected on g.
  """

  @jax.jit
  def shares(once: jax.Array, x: jax.Array, variables: Any, whole: jax.Array) -> jax.Array:
    def projected(times: jax.Array) -> jax.Array:
      def add(unit: ResidualUnit, h: Any, weight: Any, F: Any) -> jax.Array:
        total: jax.Array = h + taken(weight * F(), times[unit.number])
        return total

      return jnp.vdot(jax.grad(loss_of(net, add))(x, variables), whole)

    found: jax.Array = jax.grad(projected)(once) / jnp.vdot(whole, whole)
    return found

  once = jnp.ones(sum(units_per_stage(net.config.model)), x.dtype)
  return _numpy(shares(once, x, net.variables, jnp.asarray(whole, x.dtype)))


@jax.custom_vjp
def taken(value: jax.Array, times: jax.Array) -> jax.Array:
  """`value`, whose gradient goes back so many times; it has itself a gradient by `times`."""
  return value


taken.defvjp(
  lambda value, times: (value, times),
  lambda times, gradient: (times * gradient, jnp.zeros_like(times)),
)


def of_paths(net: Net, x: jax.Array, through: np.ndarray, gain: float = 1.0) -> np.ndarray:
  """The gradients of single paths, which go through the F of these units and no other.

  Args:
    net: the network.
    x: is added to the first unit's input.
    through: bool [paths, units].
    gain: factor of the gradient that goes through an F.

  Returns:
    [paths, B, H, W, C].
  """

  @jax.jit
  def mapped(shares: jax.Array, x: jax.Array, variables: Any) -> jax.Array:
    def of_a_path(share: jax.Array) -> jax.Array:
      def add(unit: ResidualUnit, h: Any, weight: Any, F: Any) -> jax.Array:
        on_F = share[unit.number]
        return watch.backward(h, 1 - on_F) + watch.backward(weight * F(), gain * on_F)

      found: jax.Array = jax.grad(loss_of(net, add))(x, variables)
      return found

    found: jax.Array = lax.map(of_a_path, shares)
    return found

  return _numpy(mapped(jnp.asarray(through, x.dtype), x, net.variables))


def sampled_sizes(net: Net, x: jax.Array, lengths: Sequence[int], draws: int) -> dict[int, float]:
  """The size of the gradient of a path, by its length: the mean of random ones."""
  units = sum(units_per_stage(net.config.model))
  ranks = jax.random.uniform(net.key, (len(lengths), draws, units)).argsort().argsort()
  through = np.asarray(ranks) < np.asarray(lengths)[:, None, None]
  gradients = of_paths(net, x, through.reshape(-1, units), GAIN)
  sizes = np.asarray([size(g) for g in gradients]).reshape(through.shape[:2]).mean(1)
  return {k: float(of / GAIN**k) for k, of in zip(lengths, sizes, strict=True)}


def nothing(net: Net) -> jax.Array:
  """Zeros in the shape of the first unit's input, [B, H, W, C]."""
  with watch.units(perturbed):
    shapes = jax.eval_shape(lambda v: net.loss(v, ["perturbations"])[1], net.variables)
  (shape,) = jax.tree.leaves(shapes)
  return jnp.zeros(shape.shape, shape.dtype)


def loss_of(net: Net, add: Callable[..., Any] | None = None) -> Callable[..., jax.Array]:
  """The loss as a function of what is added to the first unit's input, and of the variables.

  Units add h(x) and F(x) as `add` does, see `watch.units`.
  """

  def loss(x: jax.Array, variables: Any) -> jax.Array:
    perturbations = {"stage1": {"first": {"x": x}}}
    with watch.units(perturbed, add):
      return net.loss({**variables, "perturbations": perturbations})[0]

  return loss


def perturbed(unit: ResidualUnit, following: Any, x: jax.Array, *rest: Any) -> Any:
  """A unit, of which the first one can be given something in addition to its input."""
  return following(unit.perturb("x", x) if unit.path == ("stage1", "first") else x, *rest)


def size(gradient: np.ndarray) -> float:
  """The Euclidean norm over the whole batch."""
  return float(np.linalg.norm(gradient))


def _numpy(array: jax.Array) -> np.ndarray:
  return np.asarray(array, np.float64)  # float32 has no squares of what long paths bring
