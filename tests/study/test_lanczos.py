"""Lanczos, against matrices whose spectrum is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from resnet_jax.errors import UserError
from resnet_jax.study.spectra import lanczos

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(3)


def symmetric(eigenvalues, seed=0):
  random = np.random.default_rng(seed)
  axes = np.linalg.qr(random.normal(size=(len(eigenvalues),) * 2))[0]
  return jnp.asarray(axes * eigenvalues @ axes.T)


def of(matrix, iterations, **more):
  return lanczos(lambda v: matrix @ v, jnp.zeros(len(matrix)), KEY, iterations, **more)


def farthest(found, eigenvalues):
  """Of each Ritz value, how far the nearest eigenvalue is beyond its bound."""
  return np.abs(found.values[:, None] - eigenvalues).min(1) - found.bounds


SPECTRA = {
  "even": np.linspace(-2, 5, 80),
  "outliers": np.concatenate([np.linspace(-0.1, 0.1, 76), [-3, 10, 20, 40]]),
  "low rank": np.concatenate([np.zeros(77), [1, 2, 3]]),
  "negative": -np.linspace(1, 2, 80),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_extreme_values_are_the_matrix_s(name):
  eigenvalues = SPECTRA[name]
  found = of(symmetric(eigenvalues), 80, tolerance=1e-10)
  assert found.ended == "converged"
  np.testing.assert_allclose(found.values[0], eigenvalues.max(), rtol=1e-9)
  np.testing.assert_allclose(found.values[-1], eigenvalues.min(), rtol=1e-9, atol=1e-9)
  assert (np.diff(found.values) <= 0).all()


def test_it_ends_when_both_extremes_are_sure():
  found = of(symmetric(SPECTRA["outliers"]), 80)
  assert found.ended == "converged" and 3 < len(found.values) < 20
  assert found.bounds[0] <= 0.04 and found.bounds[-1] <= 0.04
  np.testing.assert_allclose([found.values[0], found.values[-1]], [40, -3], atol=0.04)
  assert len(of(symmetric(SPECTRA["low rank"]), 80, tolerance=1e-10).values) == 4  # rank + 1


@pytest.mark.parametrize("iterations", [1, 3, 8])
@pytest.mark.parametrize("name", ["even", "outliers", "negative"])
def test_stagnation_is_named_and_the_bounds_hold(name, iterations):
  eigenvalues = SPECTRA[name]
  found = of(symmetric(eigenvalues), iterations, tolerance=0.0)
  assert found.ended == "stagnated" and len(found.values) == iterations
  assert (farthest(found, eigenvalues) <= 1e-12).all()
  assert found.values[0] <= eigenvalues.max() + 1e-12
  assert found.values[-1] >= eigenvalues.min() - 1e-12


def test_no_value_is_found_twice():
  """Without orthogonalization a value that has converged comes again and again."""
  eigenvalues = np.concatenate([np.linspace(0, 1, 199), [1000]])
  found = of(symmetric(eigenvalues), 120, tolerance=0.0)
  assert np.sum(found.values > 500) == 1


def test_an_operator_without_effect_is_named():
  found = of(jnp.zeros((5, 5)), 5)
  assert found.ended == "null space" and found.values.tolist() == [0]


def test_a_start_in_the_null_space_but_for_rounding():
  """What rounding leaves of the first product leads out of the null space."""
  start = jax.random.normal(KEY, (80,))
  onto = jnp.eye(80) - jnp.outer(start, start) / (start @ start)
  matrix = onto @ symmetric(SPECTRA["outliers"]) @ onto
  assert jnp.linalg.norm(matrix @ start) < 1e-12
  expected = np.linalg.eigvalsh(matrix)
  found = of(matrix, 80, tolerance=1e-8)
  assert found.ended == "converged"
  np.testing.assert_allclose(found.values[[0, -1]], expected[[-1, 0]], rtol=1e-7)


def test_trees_and_keys():
  matrix = symmetric(SPECTRA["even"])
  example = {"a": jnp.zeros((4, 10)), "b": [jnp.zeros(()), jnp.zeros(39)]}
  _, tree = ravel_pytree(example)

  def found(key):
    return lanczos(lambda v: tree(matrix @ ravel_pytree(v)[0]), example, key, 10)

  flat = of(matrix, 10)
  np.testing.assert_array_equal(found(KEY).values, flat.values)
  assert (found(jax.random.key(4)).values != flat.values).all()


def test_what_is_not_finite_is_refused():
  with pytest.raises(UserError, match="product 1 of H and a vector is not finite"):
    of(symmetric(SPECTRA["even"]).at[0, 0].set(jnp.nan), 5)
