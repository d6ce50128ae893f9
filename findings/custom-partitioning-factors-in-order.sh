#!/usr/bin/env bash
# Guess: need_replication_factors of custom_partitioning.def_partition is a set of factors of the sharding rule, whose
# order says nothing.
# What happened (jax 0.10.2, two CPU devices): out of the order in which the rule first names them, the program cannot be
# lowered: "indices of special factors must be sorted". On one device the rule is not looked at, so that it shows on
# several only.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=2 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

print("jax", jax.__version__)
mesh = Mesh(np.array(jax.devices()), ("data",))


def scaled(*factors):
  """x [n, h, c] times a scale [c], shared out over n; the others are named in this order."""

  def call(x, scale):
    return x * scale

  operation = custom_partitioning(call)
  operation.def_partition(
    partition=lambda mesh, arguments, result: (
      mesh, call, result.sharding, tuple(argument.sharding for argument in arguments)
    ),
    infer_sharding_from_operands=lambda mesh, arguments, result: arguments[0].sharding,
    sharding_rule="n h c, c -> n h c",
    need_replication_factors=factors,
  )
  return operation


def outcome(devices, *factors):
  x, scale = jnp.ones((4, 3, 2)), jnp.arange(2.0)
  if devices == 2:
    x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    scale = jax.device_put(scale, NamedSharding(mesh, PartitionSpec()))
  try:
    return float(jax.jit(scaled(*factors))(x, scale).sum())
  except ValueError as error:
    line = next(line for line in str(error).splitlines() if "special factors" in line)
    return line.strip()


outcomes = {
  "two devices, h then c": outcome(2, "h", "c"),
  "two devices, c then h": outcome(2, "c", "h"),
  "one device, c then h": outcome(1, "c", "h"),
}
for name, value in outcomes.items():
  print(f"{name}: {value}")
first, second, third = outcomes.values()
sys.exit(not (first == third == 12.0 and "must be sorted" in str(second)))
PYTHON
