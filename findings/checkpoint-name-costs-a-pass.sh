#!/usr/bin/env bash
# Guess: naming a value for jax.checkpoint (checkpoint_name, save_only_these_names) costs nothing: it is kept instead of
# computed again.
# What happened (jax 0.10.2, CPU): every value that is kept by its name passes an operation `reduce-precision` to its own
# precision, which changes no bit and is there so that nothing is merged with what is computed again. Behind an operation
# that XLA does not fuse, such as a convolution, it stands alone in the compiled program and reads and writes the whole
# array. Without the policy, where everything is kept anyway, there is none.
# Exits 0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import functools
import re
import sys

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

print("jax", jax.__version__)
POLICY = jax.checkpoint_policies.save_only_these_names("kept")


def layer(w, x):
  y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
  return jnp.tanh(checkpoint_name(y, "kept"))


def passes(one):
  """Operations of the compiled gradient that are nothing but a reduce-precision of the array."""
  def loss(weights, x):
    return lax.scan(lambda x, w: (one(w, x), None), x, weights)[0].sum()

  weights, x = jnp.ones((3, 3, 3, 8, 8)), jnp.ones((4, 16, 16, 8))
  text = jax.jit(jax.grad(loss)).lower(weights, x).compile().as_text()
  return len(re.findall(r"= f32\[4,16,16,8\]\S* reduce-precision\(", text))


plain, named = passes(layer), passes(jax.checkpoint(layer, policy=POLICY, prevent_cse=False))
print("reduce-precision of whole arrays: without the policy", plain, "with it", named)
sys.exit(plain != 0 or named == 0)
PYTHON
