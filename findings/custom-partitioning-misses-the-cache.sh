#!/usr/bin/env bash
# Guess: a program on several devices with a function of jax.experimental.custom_partitioning in it is found in the
# persistent compilation cache by the next process, as every other program is.
# What happened (jax 0.10.2, two CPU devices): each process misses it and adds another file, without a word. The key holds
# the address of the Python object that partitions, another one in every process. With the setting
# jax_remove_custom_partitioning_ptr_from_cache_key, which is off by default, the second process has it.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
cat >"$folder/once.py" <<'PYTHON'
import sys

import jax
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning

jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", sys.argv[2] == "removed")
mesh = jax.make_mesh((2,), ("data",))
x = jax.device_put(np.arange(4.0), jax.sharding.NamedSharding(mesh, jax.P("data")))
doubled = custom_partitioning(lambda x: 2 * x)
doubled.def_partition(
  partition=lambda mesh, given, result: (
    mesh, lambda x: 2 * x, given[0].sharding, (given[0].sharding,)
  ),
  infer_sharding_from_operands=lambda mesh, given, result: given[0].sharding,
  sharding_rule="i -> i",
)
hits = []
jax.monitoring.register_event_listener(
  lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None
)
jax.jit(lambda x: doubled(x))(x)
print(len(hits))
PYTHON
export JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=2
for key in whole removed; do
  "$folder/venv/bin/python" "$folder/once.py" "$folder/$key" $key >/dev/null
  found=$("$folder/venv/bin/python" "$folder/once.py" "$folder/$key" $key)
  echo "jax 0.10.2, key $key: the second process has $found of 1 programs"
  declare "$key=$found"
done
[ "$whole" = 0 ] && [ "$removed" = 1 ]
