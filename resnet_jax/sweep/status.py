"""How far a run is, from its files alone: whoever started it, on whatever machine."""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, workdir
from resnet_jax.sweep.plan import PlannedRun

FINISHED = ("done", "diverged")


class Status(NamedTuple):
  """`state` is waiting, running, stopped (half done), done, diverged or failed."""

  state: str
  step: int = 0
  steps: int | None = None  # of the whole run; None before its first start
  reason: str = ""  # of a failure
  result: Mapping[str, Any] = {}  # result.json; empty before the first start

  @property
  def finished(self) -> bool:
    """Whether there is nothing left to run."""
    return self.state in FINISHED


def read(run: PlannedRun) -> Status:
  """The status of a run.

  Raises:
    UserError: its result is of another version.
  """
  held = _held(run.workdir / ".lock")  # before the result is read: it is written under the lock
  result = workdir.result(run.workdir)
  steps = _steps(run, result) if result else None
  if result and result["status"] in FINISHED and not held:
    return Status(result["status"], result["steps"], steps, result=result)
  step = max((row["step"] for row in metrics.read_rows(run.workdir)), default=0)
  if held:
    return Status("running", step, steps, result=result)
  with contextlib.suppress(OSError, ValueError):
    return Status("failed", step, steps, json.loads(run.failure.read_text())["reason"], result)
  return Status("stopped" if step else "waiting", step, steps, result=result)


def _steps(run: PlannedRun, result: Mapping[str, Any]) -> int:
  """The length of the whole run."""
  try:
    config = config_lib.stored(result["config"])
  except UserError as error:
    raise UserError(f"{run.workdir / 'result.json'}: {error}") from None
  examples, batch_size = result["data"]["train_examples"], config.data.batch_size
  return config_lib.steps(config.train.steps, "train.steps", batch_size, examples)


def _held(lock: pathlib.Path) -> bool:
  """Whether a run is in the folder. Looking takes the lock for an instant; see workdir.lock."""
  try:
    with lock.open() as handle:
      fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except OSError as error:
    return isinstance(error, BlockingIOError)
  return False
