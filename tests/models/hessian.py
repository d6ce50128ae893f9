"""Hessian-vector products in every order of forward and reverse."""

import jax


def products(function, primals, tangents):
  """H v of a scalar function by each way, and v H v by forward over forward.

  Args:
    function: of `*primals`.
    primals: the arrays or trees at which it is differentiated.
    tangents: v, a tangent of each.
  """
  every = tuple(range(len(primals)))
  gradient = jax.grad(function, every)

  def slope(*primals):
    return jax.jvp(function, primals, tangents)[1]

  return {
    "forward over reverse": jax.jvp(gradient, primals, tangents)[1],
    "reverse over forward": jax.grad(slope, every)(*primals),
    "reverse over reverse": jax.vjp(gradient, *primals)[1](tangents),
    "forward over forward": jax.jvp(slope, primals, tangents)[1],
  }
