"""Hessian-vector products in every order of forward and reverse."""

import jax
import numpy as np


def forward_over_reverse(function, primals, tangents):
  """H v of a scalar function of `*primals`, arrays or trees; v is a tangent of each."""
  every = tuple(range(len(primals)))
  return jax.jvp(jax.grad(function, every), primals, tangents)[1]


def products(function, primals, tangents):
  """H v by each way that has a reverse in it, and v H v by forward over forward."""
  every = tuple(range(len(primals)))

  def slope(*primals):
    return jax.jvp(function, primals, tangents)[1]

  return {
    "forward over reverse": forward_over_reverse(function, primals, tangents),
    "reverse over forward": jax.grad(slope, every)(*primals),
    "reverse over reverse": jax.vjp(jax.grad(function, every), *primals)[1](tangents),
    "forward over forward": jax.jvp(slope, primals, tangents)[1],
  }


def check(found, expected, tangents):
  """That `products` found H v, which is `expected`, and v H v."""
  expected, tangents = map(jax.tree.leaves, (expected, tangents))
  length = sum(np.vdot(v, h) for v, h in zip(tangents, expected, strict=True))
  np.testing.assert_allclose(found.pop("forward over forward"), length, rtol=1e-8)
  assert len(found) == 3
  for way, product in found.items():
    for a, b in zip(jax.tree.leaves(product), expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max(), err_msg=way)
