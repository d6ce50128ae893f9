"""Compiles in a hurry, for tests of what does not depend on how good the machine code is."""

import importlib.metadata

OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
if importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA ends where it knows no such flag
  # The older emitters take half the time.
  OPTIONS |= {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())


def evaluate(function, *arguments):
  """The function's value: where nets are small, compiling is what costs."""
  import jax

  return jax.jit(function).lower(*arguments).compile(OPTIONS)(*arguments)
