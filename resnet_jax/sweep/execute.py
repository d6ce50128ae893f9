"""One run as a process of its own: its output in the log, and why it failed beside that."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

from resnet_jax.errors import EXIT_PREEMPTED
from resnet_jax.runs import metrics
from resnet_jax.sweep import status
from resnet_jax.sweep.devices import Slot
from resnet_jax.sweep.plan import PlannedRun

# The latter of a run that was asked to stop while Python was starting.
STOPPED = (EXIT_PREEMPTED, -signal.SIGTERM)
KEPT = 2000  # characters at the end of a log, in which the reason is looked for


def start(run: PlannedRun, slot: Slot) -> subprocess.Popen:
  """Starts the run, or goes on with it, on these devices.

  It does not belong to our terminal: who started it passes signals on.
  """
  run.log.parent.mkdir(parents=True, exist_ok=True)
  run.failure.unlink(missing_ok=True)
  with run.log.open("ab") as log:
    process = subprocess.Popen(
      [sys.executable, *run.command],
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      env={**os.environ, **slot.environment},
      start_new_session=True,
    )
  if slot.cores is not None:  # before JAX counts them for its threads
    with contextlib.suppress(ProcessLookupError):
      os.sched_setaffinity(process.pid, slot.cores)
  return process


def settle(run: PlannedRun, code: int, log: pathlib.Path | None = None) -> None:
  """Records why a run whose process ended with this exit code failed, where it did.

  `log` has what the process printed, where that is not in the run's own.
  """
  if code not in (0, *STOPPED) and not status.read(run).finished:  # diverged is no failure
    metrics.write_json(run.failure, {"code": code, "reason": _reason(log or run.log, code)})


def _reason(log: pathlib.Path, code: int) -> str:
  """The last error in the log; where there is none, how the process ended."""
  if code < 0:
    return f"killed by {signal.Signals(-code).name}"
  lines = log.read_text(errors="replace")[-KEPT:].splitlines()
  said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
  return (said or list(filter(str.strip, lines)) or [f"exit code {code}"])[-1]
