"""Where compiled programs are kept."""

import os
import pathlib


def use_cache() -> None:
  """Keeps compiled programs, small ones too, for the next start of any run."""
  import jax

  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "resnet_jax" / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
