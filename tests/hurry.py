"""Compiles in a hurry, for tests of what does not depend on how good the machine code is."""

OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())


def evaluate(function, *arguments):
  """The function's value: where nets are small, compiling is what costs."""
  import jax

  return jax.jit(function).lower(*arguments).compile(OPTIONS)(*arguments)
