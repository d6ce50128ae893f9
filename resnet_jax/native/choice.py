"""Whose convolutions a run computes with; all of its processes take the same."""

from typing import Any, NamedTuple

import jax
import ml_collections

from resnet_jax.distributed import processes
from resnet_jax.native import library

OWN, LIBRARY = "own", "library"


class Choice(NamedTuple):
  """What is used, and why it is not what was asked for, if only some processes have that."""

  kernels: str
  why: str = ""

  def __str__(self) -> str:
    return f"{self.kernels}{self.why and f', as {self.why}'}"


def choose(model: Any) -> Choice:
  """Our own kernels where `config.model` lets and every process has them; called by all of them."""
  can = jax.default_backend() == "cpu" and model.dtype in ("float32", "float64")
  if not can or model.kernels != "auto":
    return Choice(LIBRARY)
  # In turn, as those of one host find what the first has compiled.
  have = processes.exchange(processes.in_turn(library.available))
  lacking = [str(number) for number, has in enumerate(have) if not has]
  if not lacking:
    return Choice(OWN)
  some = f"process {' and '.join(lacking)} cannot compile ours" if any(have) else ""
  return Choice(LIBRARY, some)


def with_kernels(model: Any, kernels: str) -> Any:
  """A copy of `config.model` that takes these kernels, whatever it asked for."""
  copy = ml_collections.ConfigDict(ml_collections.FrozenConfigDict(model))
  copy.kernels = "auto" if kernels == OWN else "library"
  return copy
