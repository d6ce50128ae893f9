"""What this machine has for its jobs: a GPU or some cores for each.

Found without starting JAX, which would take the memory that the runs need.
"""

import importlib.util
import os
import pathlib
from typing import NamedTuple

from resnet_jax.errors import UserError


class Slot(NamedTuple):
  """What one job gets."""

  environment: dict[str, str]
  cores: frozenset[int] | None = None  # None: as they come


def slots(jobs: int | None) -> list[Slot]:
  """What each of so many jobs gets; None is one a GPU, or one a core.

  A core each is measured: nets as small as these leave a second core half idle
  (benchmarks/seeds.py).

  Raises:
    UserError: the jobs cannot share what is there.
  """
  if importlib.util.find_spec("libtpu") and os.environ.get("JAX_PLATFORMS", "tpu")[:3] == "tpu":
    if (jobs or 1) > 1:
      raise UserError(
        f"--jobs={jobs}: a run takes all of a host's TPU; write --jobs=1, "
        "and --together to have all seeds of a row on it at once"
      )
    return [Slot({})]
  if gpus := _gpus():
    environment = {}
    if jobs and jobs > len(gpus):
      environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / -(-jobs // len(gpus)):.2f}"
    shares = (",".join(share) for share in _shares(gpus, jobs))
    return [Slot({"CUDA_VISIBLE_DEVICES": share, **environment}) for share in shares]
  if not hasattr(os, "sched_getaffinity"):  # macOS
    return [Slot({})] * (jobs or os.cpu_count() or 1)
  cores = sorted(os.sched_getaffinity(0))
  return [Slot({}, frozenset(share)) for share in _shares(cores, jobs)]


def occupy(slot: Slot) -> None:
  """Has this process use what the slot gives; before JAX is started."""
  os.environ.update(slot.environment)
  if slot.cores is not None:
    os.sched_setaffinity(0, slot.cores)


def _shares(things: list, jobs: int | None) -> list[list]:
  """What each job gets: things are divided among jobs, or jobs among things."""
  count = len(things)
  jobs = jobs or count
  if jobs >= count:
    return [[things[job % count]] for job in range(jobs)]
  return [things[job * count // jobs : (job + 1) * count // jobs] for job in range(jobs)]


def _gpus() -> list[str]:
  """The GPUs that JAX would use."""
  if not any(importlib.util.find_spec(f"jax_cuda{major}_plugin") for major in (12, 13)):
    return []
  if os.environ.get("JAX_PLATFORMS", "cuda").split(",")[0] not in ("cuda", "gpu"):
    return []
  if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
    return list(filter(None, named.split(",")))
  found = pathlib.Path("/dev").glob("nvidia[0-9]*")
  return [str(index) for index, _ in enumerate(found)]  # CUDA counts those that it sees
