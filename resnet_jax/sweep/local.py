"""Runs a sweep on this machine: so many at a time, each a process, until all are finished."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from resnet_jax.distributed.preemption import StopRequest
from resnet_jax.errors import Preempted
from resnet_jax.sweep import execute, status
from resnet_jax.sweep.devices import Slot
from resnet_jax.sweep.plan import PlannedRun
from resnet_jax.sweep.status import Status
from resnet_jax.sweep.table import Screen

POLL_SECONDS = 1.0
EXIT_FAILED = 2


class Job(NamedTuple):
  """A process that this one has started, and the runs of its command."""

  runs: Sequence[PlannedRun]
  process: subprocess.Popen
  slot: Slot


def run_all(runs: Sequence[PlannedRun], slots: Sequence[Slot]) -> dict[PlannedRun, Status]:
  """Runs all that are not finished, at most one a slot at a time; returns how they ended.

  A run that fails leaves the others alone. One that another process is in, such as that of a
  sweep that was killed, takes the place of a job and is waited for.

  Raises:
    Preempted: SIGTERM, SIGINT or SIGUSR2; the runs have saved and can go on.
  """
  ended: set[tuple[str, ...]] = set()  # commands
  free, jobs = list(slots), list[Job]()
  with StopRequest() as stop, Screen(runs) as table:
    try:
      while not stop.received:
        for job in [job for job in jobs if job.process.poll() is not None]:
          jobs.remove(job)
          free.append(job.slot)
          _settle(job)
          stopped = job.process.returncode in execute.STOPPED  # and not by us: once more
          states = {status.read(run).state for run in job.runs}
          if not stopped and "running" not in states:  # nor is it another's
            ended.add(job.runs[0].command)
        found = {run: status.read(run) for run in runs}
        table.update(found)
        taken = {job.runs[0].command for job in jobs} | ended
        left = [run for run in runs if run.command not in taken and not found[run].finished]
        elsewhere = {run.command for run in left if found[run].state == "running"}
        startable = [*dict.fromkeys(run.command for run in left if run.command not in elsewhere)]
        if not left and not jobs:
          return found
        for command in startable[: max(0, len(free) - len(elsewhere))]:
          same = [run for run in runs if run.command == command]
          for run in same:
            run.failure.unlink(missing_ok=True)
          slot = free.pop(0)
          jobs.append(Job(same, execute.start(same[0], slot), slot))
        time.sleep(POLL_SECONDS)
    finally:
      _stop(jobs, table)
  raise Preempted(f"stopped by {stop.received}; the same command goes on")


def exit_if_failed(ended: Mapping[PlannedRun, Status]) -> None:
  """Ends the command with exit code 2 and a line for each run that failed, if any did."""
  failed = [f"{run.name}: {found.reason}" for run, found in ended.items() if not found.finished]
  if failed:
    lines = "\n  ".join(failed)
    print(f"{len(failed)} runs failed; the same command tries them again\n  {lines}")
    sys.exit(EXIT_FAILED)


def _settle(job: Job) -> None:
  """Records why the runs of a job that has ended failed, where they did."""
  for run in job.runs:
    execute.settle(run, job.process.wait(), job.runs[0].log)


def _stop(jobs: list[Job], table: Screen) -> None:
  """Lets the runs save and leave."""
  if jobs:
    table.message(f"waiting for {sum(len(job.runs) for job in jobs)} runs to save")
  for job in jobs:
    job.process.send_signal(signal.SIGTERM)
  for job in jobs:
    _settle(job)
