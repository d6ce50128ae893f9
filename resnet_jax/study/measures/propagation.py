"""How a signal and its gradient go through the units ([I] 2 and 3).

With identity shortcuts and f the identity, x_L = x_l + sum of F, and
dE/dx_l = dE/dx_L (1 + d/dx_l sum of F): whatever the F do, all of dE/dx_L reaches every unit. With
another h or f it goes through the product of their derivatives instead.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.models.units import ResidualUnit
from resnet_jax.study import watch
from resnet_jax.study.net import Net, of_each
from resnet_jax.study.spectra import singular_values
from resnet_jax.study.words import require_units, requires, study

BLOCK = 4  # vectors of the power iteration; with more than one it converges in fewer turns


@study("propagation")
@requires(require_units)
def propagation(net: Net, jacobians: int = 10, iterations: int = 20) -> Iterator[dict[str, Any]]:
  """A row for each unit l, of L.

  - `signal`: the size of x_l, which the unit puts out
  - `added`: the size of weight F(x), of that of h(x) + weight F(x)
  - `through`: the product, up to this unit, of the sizes of h(x) over x
  - `gradient`: the size of dE/dx_l, for the loss E of each example
  - `arrives`: the size of dE/dx_l with every F held constant, over that of dE/dx_L
  - `largest`, `mean`: of the unit's Jacobian, the largest singular value and the root mean square
    of all, at some units
  """
  numbers = np.unique(np.linspace(0, len(net.modules) - 1, jacobians).astype(int)).tolist()
  look = looking(net, numbers)
  free, inputs = look(1.0)
  held, _ = look(0.0)
  through = np.cumprod(np.divide(free["h"], free["x"]))
  jacobian = spectra(net, dict(zip(numbers, inputs, strict=True)), iterations)
  for unit, signal in enumerate(free["signal"]):
    yield {
      "unit": unit + 1,
      "signal": signal,
      "added": free["added"][unit],
      "through": through[unit],
      "gradient": free["gradient"][unit],
      "arrives": held["gradient"][unit] / held["gradient"][-1],
    } | jacobian.get(unit, {})


def watched(share: Any) -> Any:
  """Has units sow their input and sizes, and perturbs what they put out; `share` of the gradient of
  F goes back.
  """

  def call(unit: ResidualUnit, following: Any, x: jax.Array, *rest: Any) -> jax.Array:
    y: jax.Array = unit.perturb("y", watch.written(following(x, *rest)))
    unit.sow("inputs", "x", x)
    unit.sow("sizes", "x", watch.size(x))
    unit.sow("sizes", "signal", watch.size(y))
    return y

  def add(unit: ResidualUnit, h: Any, weight: Any, F: Any) -> jax.Array:
    added = weight * watch.backward(F(), share)
    y: jax.Array = h + added
    unit.sow("sizes", "h", watch.size(jnp.broadcast_to(h, y.shape)))
    unit.sow("sizes", "added", watch.size(added) / watch.size(y))
    return y

  return watch.units(call, add)


Columns = dict[str, list[float]]  # of each a value for every unit


def looking(
  net: Net, numbers: Sequence[int] = ()
) -> Callable[[float], tuple[Columns, list[jax.Array]]]:
  """A function of the share of F's gradient that goes back: 1 all of it, 0 with every F held
  constant. It gives what `watched` units have as sizes, the size of the gradient at what each puts
  out, and the inputs of the units of these numbers. One program computes both shares.
  """

  def loss(perturbations: Any, variables: Mapping[str, Any], share: Any) -> Any:
    with watched(share):
      return net.loss({**variables, "perturbations": perturbations}, ["inputs", "sizes"])

  with watched(1.0):
    _, shapes = jax.eval_shape(lambda given: net.loss(given, ["perturbations"]), net.variables)
  zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes["perturbations"])

  @jax.jit
  def measured(variables: Mapping[str, Any], share: Any) -> Any:
    gradients, kept = jax.grad(loss, has_aux=True)(zeros, variables, share)
    of_examples = jax.tree.map(lambda g: g * net.examples, gradients)  # the loss is their mean
    inputs = net.units(kept["inputs"])
    sizes = of_each(lambda unit: watch.size(unit["y"]), of_examples), kept["sizes"]
    return sizes, [inputs[number]["x"][0] for number in numbers]

  def look(share: float) -> tuple[Columns, list[jax.Array]]:
    sizes, inputs = measured(net.variables, share)
    gradients, sown = map(net.units, jax.device_get(sizes))
    columns = {name: [float(unit[name][0]) for unit in sown] for name in sown[0]}
    return columns | {"gradient": list(map(float, gradients))}, inputs

  return look


def spectra(
  net: Net, inputs: Mapping[int, jax.Array], iterations: int
) -> dict[int, dict[str, float]]:
  """The singular values of the Jacobians of units at these inputs, by the unit's number, from 0.

  A Jacobian is of the whole batch, whose examples BN ties together.
  """
  found, compiled = {}, dict[Any, Any]()
  params, statistics = (net.units(net.variables[name]) for name in ("params", "batch_stats"))
  for number, x in inputs.items():
    unit, key = net.alone(number), jax.random.fold_in(net.key, number)

    def measured(
      variables: Any, x: jax.Array, number: Any, key: jax.Array, unit: Any = unit
    ) -> Any:
      return singular_values(lambda x: unit(variables, x, number), x, key, BLOCK, iterations)

    alike = compiled.setdefault(net.modules[number], jax.jit(measured))
    variables = {"params": params[number], "batch_stats": statistics[number]}
    values = alike(variables, x, number, key)
    found[number] = {"largest": float(values.largest[0]), "mean": float(values.mean)}
  return found
