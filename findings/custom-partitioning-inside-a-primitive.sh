#!/usr/bin/env bash
# Guess: a primitive whose lowering is mlir.lower_fun of a function can have anything in that function that jax.jit can
# have, a call of custom_partitioning too.
# What happened (jax 0.10.2, CPU, one device): lowering ends with an AssertionError that has no words but "Please file a
# bug". JAX looks for primitives that need the devices in the jaxpr alone, and finds them in jaxprs that are parameters of
# other primitives; what a lowering brings in later gets no devices. If the primitive carries the jaxpr of its function as
# a parameter, which nothing reads, the same lowering works.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.interpreters import mlir

print("jax", jax.__version__)


@custom_partitioning
def doubled(x):
  return 2 * x


doubled.def_partition(
  partition=lambda mesh, arguments, result: (
    mesh, lambda x: 2 * x, arguments[0].sharding, (arguments[0].sharding,)
  ),
  infer_sharding_from_operands=lambda mesh, arguments, result: arguments[0].sharding,
  sharding_rule="i -> i",
)


def primitive(name):
  """One that doubles: its only parameter is a jaxpr, or None."""
  operation = Primitive(name)
  operation.def_abstract_eval(lambda x, steps: x)
  mlir.register_lowering(
    operation, mlir.lower_fun(lambda x, steps: doubled(x), multiple_results=False)
  )
  return operation


bare, carrying = primitive("bare"), primitive("carrying")
x = jnp.arange(3.0)
try:
  print("bare:", jax.jit(lambda x: bare.bind(x, steps=None))(x))
  failed = ""
except AssertionError as error:
  failed = str(error)
  print("bare: AssertionError:", failed)
steps = jax.make_jaxpr(doubled)(x)
y = jax.jit(lambda x: carrying.bind(x, steps=steps))(x)
print("carrying its jaxpr:", y)
sys.exit("file a bug" not in failed or y.tolist() != [0, 2, 4])
PYTHON
