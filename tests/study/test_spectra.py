"""Singular values against matrices that are known."""

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.study.spectra import singular_values


def test_singular_values_of_a_matrix(x64):
  rng = np.random.default_rng(0)
  left, right = (np.linalg.qr(rng.standard_normal((n, 30)))[0] for n in (50, 40))
  values = np.linspace(3, 0.1, 30)
  matrix = jnp.asarray(left * values @ right.T)
  x = jnp.asarray(rng.standard_normal(40))

  def found(key, iterations):
    return singular_values(lambda x: matrix @ x, x, key, 4, iterations)

  largest = found(jax.random.key(0), 400).largest
  np.testing.assert_allclose(largest[:3], values[:3], rtol=1e-6)
  estimates = jax.vmap(lambda key: found(key, 1).mean ** 2)(
    jax.random.split(jax.random.key(1), 100)
  )
  assert abs(np.mean(estimates) - np.sum(values**2) / 40) < 4 * np.std(estimates) / 10
