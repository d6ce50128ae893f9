#!/usr/bin/env bash
# JAX's persistent compilation cache, copied to another folder.
# Guess: the key of a program says nothing of the folder, so that a copy has all programs.
# What happened (JAX 0.10.2, on a CPU): the copy misses every program. By default XLA's own autotuning
# cache is put inside the folder, its path is one of the compile options, and these are part of the
# key, on every platform. With jax_persistent_cache_enable_xla_caches="none" the copy has all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
cat >"$folder/copied.py" <<'EOF'
import os, shutil, sys
import jax
from jax.experimental.compilation_cache import compilation_cache

folder, xla_caches = sys.argv[1:]
misses = []

def listen(event, **_):
  if event == "/jax/compilation_cache/cache_misses":
    misses.append(event)

def compiled(cache):
  jax.config.update("jax_compilation_cache_dir", cache)
  compilation_cache.reset_cache()
  jax.clear_caches()
  misses.clear()
  jax.jit(lambda x: x + 1)(1)
  return len(misses)

jax.monitoring.register_event_listener(listen)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
if xla_caches != "default":
  jax.config.update("jax_persistent_cache_enable_xla_caches", xla_caches)
first, copy = os.path.join(folder, xla_caches), os.path.join(folder, xla_caches + "-copy")
found = [compiled(first), compiled(first)]
shutil.copytree(first, copy)
print(*found, compiled(copy))
EOF
"$folder/venv/bin/pip" list --format=freeze | grep -E '^(jax|jaxlib)='
code=0
for expected in "default 1 0 1" "none 1 0 0"; do
  found="${expected%% *} $(JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/copied.py" "$folder" "${expected%% *}")"
  echo "XLA's caches, misses of the first compilation, of the second, of one from a copy: $found"
  [ "$found" = "$expected" ] || code=1
done
exit $code
