#!/usr/bin/env bash
# Guess: jnp.linalg.svd(x, compute_uv=False) of a tall x [m, 4] needs memory of the order of x, as the vectors are not asked
# for; `full_matrices`, which tells their shapes, does not matter then.
# What happened (jax 0.10.2, CPU): the compiled program plans m^2 numbers of temporary memory, room for the full matrix of
# left vectors that nobody gets: 1.6 GB where x takes 0.3 MB. With full_matrices=False as well it plans 0.6 MB. With
# x of [131072, 4], a map of 32 images, the program ended for want of 64 GiB.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
cat >"$folder/once.py" <<'PYTHON'
import jax
import jax.numpy as jnp

x = jax.ShapeDtypeStruct((20000, 4), jnp.float32)


def planned(**settings):
  function = jax.jit(lambda x: jnp.linalg.svd(x, compute_uv=False, **settings))
  return function.lower(x).compile().memory_analysis().temp_size_in_bytes


default, thin = planned(), planned(full_matrices=False)
print(f"jax {jax.__version__}: {default} bytes by default, {thin} with full_matrices=False")
raise SystemExit(not default > 1000 * thin)
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/once.py"
