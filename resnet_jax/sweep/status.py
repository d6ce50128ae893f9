"""How far a run is, from its files alone: whoever started it, on whatever machine."""

import fcntl
import json
import pathlib
from typing import Any, NamedTuple

import ml_collections

from resnet_jax import config as config_lib
from resnet_jax import metrics
from resnet_jax.sweep.plan import Run


class Status(NamedTuple):
  """`state` is waiting, running, stopped (half done), done, diverged or failed."""

  state: str
  step: int = 0
  steps: int | None = None  # of the whole run; None before its first start
  reason: str = ""  # of a failure
  result: dict[str, Any] | None = None  # result.json

  @property
  def finished(self) -> bool:
    """Whether there is nothing left to run."""
    return self.state in ("done", "diverged")

  def finished_as(self, config: ml_collections.ConfigDict) -> bool:
    """Whether it is, and with this config: the length of a run may have been changed since."""
    if not (self.finished and self.result):
      return False
    return not config_lib.differences(config_lib.from_json(self.result["config"]), config)


def read(run: Run) -> Status:
  """The status of a run."""
  result = _read_json(run.workdir / "result.json")
  steps = None
  if result:
    config, data = config_lib.from_json(result["config"]), result["data"]
    examples, batch_size = data["train_examples"], config.data.batch_size
    steps = config_lib.steps(config.train.steps, "train.steps", batch_size, examples)
    if result["status"] in ("done", "diverged"):
      return Status(result["status"], result["steps"], steps, result=result)
  step = max((row["step"] for row in metrics.read_rows(run.workdir)), default=0)
  if _held(run.workdir / ".lock"):
    return Status("running", step, steps, result=result)
  if failure := _read_json(run.failure):
    return Status("failed", step, steps, failure["reason"], result)
  return Status("stopped" if step else "waiting", step, steps, result=result)


def _read_json(path: pathlib.Path) -> dict[str, Any] | None:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return None


def _held(lock: pathlib.Path) -> bool:
  """Whether a run is in the folder. Looking takes the lock for an instant; see workdir.lock."""
  try:
    with lock.open() as handle:
      fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  except OSError:
    return False
  return False
