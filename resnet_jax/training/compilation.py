"""How XLA compiles: which kernels it may choose, where programs are kept, and what they take."""

import os
from typing import Any

from resnet_jax.config import paths

# Kernels of a GPU that add up in no fixed order gave a run other losses from its first row on each
# time it was started; without them a run that is killed and resumed has the bits of one that is
# not, compiled anew or not (results/gpu).
EXACT = "--xla_gpu_exclude_nondeterministic_ops"


def set_up() -> None:
  """Has the same program compute the same bits, and keeps it for the next start of any run.

  Call it before the devices are used. What the user's XLA_FLAGS, JAX_COMPILATION_CACHE_DIR and
  JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES say is kept.
  """
  import jax

  flags = os.environ.get("XLA_FLAGS", "")
  if EXACT not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {EXACT}=true".lstrip()
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    jax.config.update("jax_compilation_cache_dir", str(paths.cache() / "xla"))
  # The key of a program on several devices held the addresses of functions that partition our own
  # kernels, other ones in every process: each start compiled anew.
  jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)
  # With XLA's own caches inside it, the key of every program holds the path of the folder: a cache
  # that is copied, or mounted elsewhere, would not have a single hit.
  if "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES" not in os.environ:
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
  # Small programs, too.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def planned_bytes(compiled: Any) -> int:
  """The peak memory of a program, as its compiler plans it; what is shared counts once.

  Args:
    compiled: a `jax.stages.Compiled`.
  """
  planned = compiled.memory_analysis()
  argument, output, temporary, alias = (
    getattr(planned, f"{kind}_size_in_bytes") for kind in ("argument", "output", "temp", "alias")
  )
  return int(argument + output + temporary - alias)
