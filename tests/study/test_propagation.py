"""What goes through the units, against finite differences, formulas and dense Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resnet_jax.config import load_file
from resnet_jax.study import watch
from resnet_jax.study.measures import propagation
from resnet_jax.study.net import Net
from tests.hurry import evaluate


def net(settings, **more):
  config = load_file(f"configs/resnet.py:{settings},digits")
  for key, value in {"model.dtype": "float64", **more}.items():
    config.update_from_flattened_dict({key: value})
  return Net(config, examples=4)


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
  monkeypatch.chdir(repository)


def with_constant_F(of, constants):
  """Has every unit take these in place of weight F, by the path of the unit."""

  def call(unit, following, x, *rest):
    return unit.perturb("y", watch.written(following(x, *rest)))

  def add(unit, h, weight, F):
    return h + constants[unit.path]

  return watch.units(call, add)


def recorded(of):
  """weight F of every unit, by its path."""

  def add(unit, h, weight, F):
    added = weight * F()
    unit.sow("intermediates", "F", added)
    return h + added

  with watch.units(add=add):
    _, kept = evaluate(lambda v: of.loss(v, ["intermediates"]), of.variables)
  flat = traverse_util.flatten_dict(kept["intermediates"])
  return {
    path[:-1]: value[0][0] if path[-2] == "rest" else value[0] for path, value in flat.items()
  }


@pytest.mark.slow
@pytest.mark.parametrize(
  ("after_add", "shortcut"),
  [("full_preact", "identity"), ("original", "shortcut_gating"), ("bn_after_add", "dropout")],
)
def test_what_arrives_is_the_finite_difference_with_F_constant(x64, after_add, shortcut):
  """Units that stand alone, and one in a loop."""
  of = net(f"depth=14,after_add={after_add},shortcut={shortcut}")
  constants = recorded(of)

  def loss(perturbations):
    with with_constant_F(of, constants):
      return of.loss({**of.variables, "perturbations": perturbations})[0]

  with with_constant_F(of, constants):
    _, kept = jax.eval_shape(lambda v: of.loss(v, ["perturbations"]), of.variables)
  zeros = jax.tree.map(lambda a: jnp.zeros(a.shape), kept["perturbations"])
  gradient = evaluate(jax.grad(loss), zeros)
  loss = jax.jit(loss)
  leaves, tree = jax.tree.flatten(gradient)
  for number, leaf in enumerate(leaves):  # along itself, where the difference is its square
    step = 1e-4 / np.abs(leaf).max()
    moved = [leaf * 0 if n != number else leaf * step for n, leaf in enumerate(leaves)]
    up, down = (loss(jax.tree.unflatten(tree, [s * m for m in moved])) for s in (1, -1))
    np.testing.assert_allclose((up - down) / (2 * step), np.sum(leaf**2), rtol=1e-5)
  sizes = [float(np.sqrt(np.sum(unit["y"] ** 2) * 4)) for unit in of.units(gradient)]
  np.testing.assert_allclose(propagation.looking(of)(0.0)[0]["gradient"], sizes, rtol=1e-9)


@pytest.mark.slow
def test_scaling_goes_through_as_its_power(x64):
  scales = {"model.shortcut_scale": 0.5, "model.residual_scale": 0.5}
  of = net("depth=20,after_add=full_preact", **{"model.shortcut": "scaling"}, **scales)
  rows = list(propagation.propagation(of, jacobians=1, iterations=1))
  for stage in (rows[:3], rows[3:6], rows[6:]):  # between, the shape changes
    for key in ("through", "arrives"):
      ratios = [abs(np.log2(a[key] / b[key])) for a, b in zip(stage, stage[1:], strict=False)]
      np.testing.assert_allclose(ratios, 1, rtol=1e-9)


def test_what_F_adds_is_what_x_gains(x64):
  """In a pre-activation net x_L = x_l + sum of F, so that squares add up where F is independent."""
  of = net("depth=20,after_add=full_preact")
  sizes, _ = propagation.looking(of)(1.0)
  for unit in range(1, 3):
    gain = sizes["signal"][unit] ** 2 - sizes["signal"][unit - 1] ** 2
    added = (sizes["added"][unit] * sizes["signal"][unit]) ** 2
    assert 0.5 < gain / added < 1.5


@pytest.mark.slow
def test_singular_values_are_those_of_the_dense_jacobian(x64):
  of = net("depth=8")
  unit, number = of.alone(2), 2
  share = {name: of.units(of.variables[name])[number] for name in ("params", "batch_stats")}
  _, (x,) = propagation.looking(of, [number])(1.0)
  found = propagation.spectra(of, {number: x}, iterations=100)[number]
  jacobian = evaluate(jax.jacrev(lambda x: unit(share, x, number)), x)
  values = np.linalg.svd(np.asarray(jacobian).reshape(-1, x.size), compute_uv=False)
  np.testing.assert_allclose(found["largest"], values[0], rtol=1e-6)
  mean = np.sqrt(np.sum(values**2) / x.size)
  np.testing.assert_allclose(found["mean"], mean, rtol=0.1)  # an estimate of four vectors


def test_sizes_of_what_has_no_squares():
  x = jnp.full((2, 8, 8, 3), 1e30, jnp.float32)
  np.testing.assert_allclose(watch.size(x), 1e30 * np.sqrt(8 * 8 * 3), rtol=1e-6)
  assert watch.size(x * 0) == 0
