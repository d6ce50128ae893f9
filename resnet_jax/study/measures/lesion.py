"""The test error of a trained network whose units are removed or swapped (Veit et al. 2016,
"Residual networks behave like ensembles of relatively shallow networks", 4.1 to 4.3).

A residual unit is removed by dropping its F: y = f(h(x)). A plain unit is removed by passing its
input on: y = x. A plain unit that changes the shape cannot be removed; a residual one still has its
projection. Nothing is trained afterwards, and BN keeps its running averages.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.data.batch import Batch
from resnet_jax.models.resnet import WIDTHS, units_per_stage
from resnet_jax.models.units import UNITS, ResidualUnit
from resnet_jax.study import watch
from resnet_jax.study.measures import propagation
from resnet_jax.study.net import Net
from resnet_jax.study.words import require_classification, require_units, requires, study

COUNTS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50)  # of units removed, and of swaps


@study("lesion")
@requires(require_units, require_classification)
def lesion(net: Net, draws: int = 10) -> Iterator[dict[str, Any]]:
  """Errors in percent, on the first 512 test images at most.

  - `without`: of the network without the unit `unit`, from 1
  - `added`: the size of the unit's F(x), of that of h(x) + F(x), as in the study propagation
  - `error`: without `removed` units; as many rows as `draws`, which differ in the units
  - `swapped`: after `swaps` swaps of two units of the same stage; as many rows, too
  """
  stages = units_per_stage(net.config.model)
  removable, error = removable_units(net.config.model), tester(net)
  all_kept, in_order = np.ones(len(removable), bool), np.arange(len(removable))
  sizes, _ = propagation.looking(net)(1.0)
  for unit, added in enumerate(sizes["added"]):
    without = {"without": error(in_order != unit, in_order)} if removable[unit] else {}
    yield {"unit": unit + 1, "added": added} | without
  counts = [count for count in COUNTS if count <= removable.sum()]
  for draw in range(draws):
    for_removal, for_swaps = jax.random.split(jax.random.fold_in(net.key, draw))
    ranks = removal_ranks(for_removal, removable)
    orders = swapped_orders(for_swaps, stages, max(counts))
    for count in counts:
      yield {"removed": count, "error": error(ranks >= count, in_order)}
      if count < len(orders):
        yield {"swaps": count, "swapped": error(all_kept, orders[count])}


def removable_units(config: Any) -> np.ndarray:
  """Which can be removed, bool [units]: all residual units, and plain ones that keep the shape.

  `config` is config.model.
  """
  stages, width = units_per_stage(config), WIDTHS[config.family][0]
  keeps_shape = np.ones(sum(stages), bool)
  keeps_shape[np.cumsum(stages)[:-1]] = False  # the first unit of a stage doubles the width
  keeps_shape[0] = UNITS[config.unit](width)[-1][1] == width  # a bottleneck widens
  return keeps_shape | (config.shortcut != "none")


def removal_ranks(key: jax.Array, removable: np.ndarray) -> np.ndarray:
  """The units' places, int [units], in a random order of removal; those that stay are the last."""
  scores = np.where(removable, jax.random.uniform(key, removable.shape), np.inf)
  return scores.argsort().argsort()


def swapped_orders(key: jax.Array, stages: Sequence[int], swaps: int) -> np.ndarray:
  """The units' orders after 0, 1 ... random swaps of two units of a stage, int [swaps + 1, units].

  The first unit of a stage, which may change the shape, stays in its place.

  Args:
    key: random.
    stages: how many units each has; where none has three, no units can be swapped.
    swaps: how many.
  """
  units = np.split(np.arange(sum(stages)), np.cumsum(stages)[:-1])
  pairs = [pair for stage in units for pair in itertools.combinations(stage[1:], 2)]
  orders = [np.arange(sum(stages))]
  for number in jax.random.randint(key, (swaps if pairs else 0,), 0, max(len(pairs), 1)):
    order, pair = orders[-1].copy(), list(pairs[number])
    order[pair] = order[pair[::-1]]
    orders.append(order)
  return np.stack(orders)


def reordered(config: Any, variables: Mapping[str, Any], order: jax.Array) -> dict[str, Any]:
  """The variables of a network of which unit order[l] stands at l.

  Args:
    config: `config.model`.
    variables: collections, whose stages hold the stacked `rest`.
    order: int [units]; a unit either stays or moves within the `rest` of its stage.
  """
  found, first = {kind: dict(tree) for kind, tree in variables.items()}, 0
  for number, units in enumerate(units_per_stage(config)):
    stage, chosen = f"stage{number + 1}", order[first + 1 : first + units] - (first + 1)
    for tree in found.values():
      if "rest" in tree.get(stage, {}):
        rest = jax.tree.map(
          functools.partial(jnp.take, indices=chosen, axis=0), tree[stage]["rest"]
        )
        tree[stage] = {**tree[stage], "rest": rest}
    first += units
  return found


def tester(net: Net) -> Callable[[np.ndarray, np.ndarray], float]:
  """The error in percent as a function of the units kept, bool [units], and of their order."""

  @jax.jit
  def error(variables: Any, batch: Batch, kept: jax.Array, order: jax.Array) -> jax.Array:
    predicted = outputs(net, variables, batch.images, kept, order).argmax(-1)
    valid = True if batch.valid is None else batch.valid
    return 100 * jnp.mean(predicted != batch.targets, where=valid)

  variables, batch = net.variables, net.tested
  return lambda kept, order: float(error(variables, batch, kept, order))


def outputs(net: Net, variables: Any, images: jax.Array, kept: Any, order: Any) -> jax.Array:
  """The logits [B, classes] of images [B, H, W, C] with the units kept, in this order."""
  with only(net.config.model, kept):
    found: Any = net.learner.model.apply(reordered(net.config.model, variables, order), images)
  logits: jax.Array = found
  return logits


def only(config: Any, kept: jax.Array) -> AbstractContextManager[Any]:
  """Within it, a net of `config.model` has only the units that are `kept`, bool [units]."""

  def plain(_: ResidualUnit, following: Any, x: jax.Array, number: Any, *rest: Any) -> jax.Array:
    y: jax.Array = watch.written(following(x, number, *rest))
    return jnp.where(kept[number], y, x) if y.shape == x.shape else y

  def residual(unit: ResidualUnit, h: Any, weight: Any, F: Any) -> jax.Array:
    y: jax.Array = h + jnp.where(kept[unit.number], weight * F(), 0)
    return y

  return watch.units(call=plain) if config.shortcut == "none" else watch.units(add=residual)
