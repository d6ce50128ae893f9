#!/usr/bin/env bash
# Guess: within a jax.shard_map over one axis of a mesh, whose other axes are left to the compiler, a function of
# jax.experimental.custom_partitioning is partitioned over those, as it is outside: its callback gets NamedShardings.
# What happened (jax 0.10.2, four CPU devices): the callback gets GSPMDSharding objects for the arrays, which have no
# `spec`, so that a callback written as in the documentation ends with an AttributeError within the partitioner. A
# jax.shard_map within the shard_map, over the axes that are left, does what was meant.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=4 "$folder/venv/bin/python" - <<'PYTHON'
import functools
import sys

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

print("jax", jax.__version__)
kinds = []


@custom_partitioning
def doubled(x):
  return 2 * x


def partition(mesh, arguments, result):
  kinds.append(type(arguments[0].sharding).__name__)
  if not hasattr(arguments[0].sharding, "spec"):
    raise AttributeError("no spec")
  sharding = NamedSharding(mesh, arguments[0].sharding.spec)
  return mesh, lambda x: 2 * x, sharding, (sharding,)


doubled.def_partition(
  partition=partition,
  infer_sharding_from_operands=lambda mesh, arguments, result: arguments[0].sharding,
  sharding_rule="i j -> i j",
)

mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("seed", "data"))
over_seeds = functools.partial(
  jax.shard_map, mesh=mesh, in_specs=P("seed"), out_specs=P("seed"), axis_names={"seed"},
  check_vma=False,
)
x = jnp.arange(8.0).reshape(2, 4)
try:
  print("custom_partitioning:", jax.jit(over_seeds(doubled))(x).tolist())
  failed = False
except Exception as error:  # the partitioner's own kind
  failed = "no spec" in str(error)
  print("custom_partitioning:", type(error).__name__, "no spec" if failed else error)
print("the callback got", kinds)


def within(x):
  return jax.shard_map(
    lambda x: 2 * x, in_specs=P(None, "data"), out_specs=P(None, "data"), axis_names={"data"},
    check_vma=False,
  )(x)


y = jax.jit(over_seeds(within))(x).tolist()
print("a shard_map within:", y)
sys.exit(not failed or "GSPMDSharding" not in kinds or y != (2 * x).tolist())
PYTHON
