#!/usr/bin/env bash
# Guess: what Orbax saves without an error under a path that the file system allows, it restores.
# What happened (orbax-checkpoint 0.12.8): with brackets in the path, or a backslash, every save ends
# without an error and nothing of it can be restored. Orbax builds a glob pattern on the path when it
# merges what each process wrote, finds nothing to merge, and logs a warning; TensorStore takes a
# backslash for a slash and writes the arrays into another folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "orbax-checkpoint==0.12.8" "jax[cpu]==0.10.2"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - "$work" <<'PYTHON'
import importlib.metadata
import logging
import pathlib
import sys

import numpy as np
import orbax.checkpoint as ocp

logging.disable(logging.CRITICAL)
print("orbax-checkpoint", importlib.metadata.version("orbax-checkpoint"))
state = {"a": np.ones((300, 40), np.float32)}
expected = {"plain": True, "lr[0.1]": False, "a\\b": False}
found = {}
for name in expected:
  folder = pathlib.Path(sys.argv[1]) / "runs" / name
  with ocp.CheckpointManager(folder) as manager:
    saved = manager.save(1, args=ocp.args.StandardSave(state))
    manager.wait_until_finished()
    manager.check_for_errors()
  with ocp.CheckpointManager(folder) as manager:
    try:
      restored = manager.restore(1, args=ocp.args.StandardRestore(state))
      found[name] = bool((np.asarray(restored["a"]) == state["a"]).all())
      text = "restored"
    except Exception as error:
      found[name] = False
      text = f"not restored: {type(error).__name__}"
  print(f"{name!r}: saved {saved}, {text}")
print("folders:", sorted(path.name for path in folder.parent.iterdir()))
sys.exit(0 if found == expected else 1)
PYTHON
