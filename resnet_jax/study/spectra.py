"""Spectra without the matrix: singular values by block power iteration, eigenvalues by Lanczos."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from resnet_jax.errors import UserError


class Spectrum(NamedTuple):
  """Of a Jacobian: its largest singular values, and the root mean square of all (an estimate)."""

  largest: jax.Array  # [count], descending
  mean: jax.Array  # []


def singular_values(
  f: Callable[[jax.Array], jax.Array], x: jax.Array, key: jax.Array, count: int, iterations: int
) -> Spectrum:
  """Of the Jacobian J of `f` at `x`.

  Each iteration takes V, whose columns are orthonormal, to the orthogonal factor of J^T J V; the
  singular values are those of the last J V, which come from below. The mean is Hutchinson's: of the
  squared norm of J v over the columns of the random start.

  Args:
    f: from an array to an array.
    x: where.
    key: of the random start.
    count: how many of the largest.
    iterations: their number, 1 or more; the error of a value falls with (the next value / it)^(2
      iterations).
  """
  _, forward = jax.linearize(f, x)
  transpose = jax.linear_transpose(forward, x)

  def each(function: Callable[[jax.Array], jax.Array], V: jax.Array, like: Any) -> jax.Array:
    return jax.lax.map(lambda v: function(v.reshape(like.shape)).reshape(-1), V.T).T

  def step(V: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    W = each(forward, V, x)
    # Of R alone: even without vectors svd makes room for x.size squared of them.
    values = jnp.linalg.svd(jnp.linalg.qr(W, mode="r"), compute_uv=False)
    V = jnp.linalg.qr(each(lambda w: transpose(w)[0], W, jax.eval_shape(f, x)))[0]
    return V, (values, jnp.sqrt(jnp.mean(jnp.sum(jnp.square(W), 0))))

  start = jnp.linalg.qr(jax.random.normal(key, (x.size, count), x.dtype))[0]
  _, (values, means) = jax.lax.scan(step, start, length=iterations)
  return Spectrum(values[-1], means[0])


class Ritz(NamedTuple):
  """What Lanczos has found of the eigenvalues of a symmetric H.

  `ended` is one of
  - "converged": the least and the largest value are as sure as was asked for
  - "stagnated": they are not, after all iterations
  - "null space": H takes the start to zero, so that nothing is known of the rest of its spectrum
  """

  values: np.ndarray  # [k], descending
  bounds: np.ndarray  # [k]: an eigenvalue of H lies within so much of each value
  ended: str


def lanczos(
  product: Callable[[Any], Any],
  example: Any,
  key: jax.Array,
  iterations: int,
  tolerance: float = 1e-3,
) -> Ritz:
  """The extreme eigenvalues of a symmetric H, by Lanczos with full reorthogonalization.

  `jax.experimental.sparse.linalg.lobpcg_standard` finds only the largest, and without bounds.

  Args:
    product: v -> H v, from a tree to one like it.
    example: such a tree, of which only the shapes and types count.
    key: of the start, which is drawn from a normal distribution.
    iterations: products at most.
    tolerance: of the bounds of the least and the largest value, relative to the one of larger size.

  Raises:
    UserError: a product is not finite.
  """
  flat, tree = ravel_pytree(example)
  v = np.asarray(jax.random.normal(key, flat.shape, flat.dtype))
  basis = np.zeros((min(iterations, flat.size), flat.size), flat.dtype)
  T = np.zeros((len(basis), len(basis)))  # H in this basis: tridiagonal
  size = float(np.linalg.norm(v))
  for k in range(len(basis)):
    basis[k] = v / size
    v = np.array(ravel_pytree(product(tree(jnp.asarray(basis[k]))))[0])
    if not np.isfinite(v).all():
      raise UserError(f"Lanczos: product {k + 1} of H and a vector is not finite")
    if not k and not v.any():
      return Ritz(np.zeros(1), np.zeros(1), "null space")
    T[k, k] = basis[k] @ v
    for _ in range(2):  # once leaves what rounding has made
      v -= basis[: k + 1].T @ (basis[: k + 1] @ v)
    size = float(np.linalg.norm(v))
    values, vectors = np.linalg.eigh(T[: k + 1, : k + 1])
    bounds = size * np.abs(vectors[-1])
    if max(bounds[0], bounds[-1]) <= tolerance * np.abs(values).max():
      return Ritz(values[::-1], bounds[::-1], "converged")
    if k + 1 < len(basis):
      T[k, k + 1] = T[k + 1, k] = size
  return Ritz(values[::-1], bounds[::-1], "stagnated")
