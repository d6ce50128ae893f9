"""Runs a sweep on a cluster: one SLURM array job, a run each, through submitit.

    W/logs/slurm               what submitit keeps of each job, by its id

SLURM signals every process of a job, so a run saves and exits 75 by itself, and starts again with
the job: SLURM requeues one that it preempted, submitit one whose time runs out.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.errors import UserError, unknown
from resnet_jax.sweep import execute
from resnet_jax.sweep.devices import Slot
from resnet_jax.sweep.plan import PlannedRun

DEFAULTS = {"timeout_min": 60}  # a run that takes longer is requeued
TIMEOUTS = 100  # so often; without an end a run that never reaches a step would go on for ever
# What submitit takes as well but would break a run, or is set here: a run is one process.
OURS = {"additional_parameters", "array_parallelism", "nodes", "ntasks_per_node", "srun_args"}
OURS |= {"tasks_per_node", "time", "use_srun"}


@dataclasses.dataclass
class Job:
  """What one job of the array does."""

  run: PlannedRun
  process: subprocess.Popen | None = None

  def __call__(self) -> None:
    """Trains; leaves with the exit code of the run, so that SLURM knows of a failure."""
    self.process = execute.start(self.run, Slot({}))
    code = self.process.wait()
    if code not in execute.STOPPED:
      execute.settle(self.run, code)
    else:
      job_id = _submitit().JobEnvironment().job_id
      if _ask("squeue", "--jobs", job_id, "--format=%T").split() == ["RUNNING"]:
        # The grace time before a preemption, or it was not SLURM that stopped it: SLURM would count
        # the job as failed, so it is for submitit to requeue it.
        signal.raise_signal(signal.SIGUSR2)
    if code:
      sys.exit(code)

  def checkpoint(self) -> Any:
    """What submitit requeues, called within its handler of SIGUSR2; the run has saved by then."""
    if self.process is not None:
      self.process.terminate()
      # Not process.wait(): the call that was interrupted here holds its lock.
      with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
    return _submitit().helpers.DelayedSubmission(Job(self.run))


def parameters(text: str) -> dict[str, Any]:
  """The settings in `partition=gpu,timeout_min=240`, as submitit's AutoExecutor takes them.

  Raises:
    UserError: a key that submitit does not know or that is not to be set.
  """
  submitit = _submitit()
  shared = submitit.AutoExecutor._valid_parameters() - OURS
  known = (shared | submitit.SlurmExecutor._valid_parameters()) - OURS
  found: dict[str, Any] = {}
  for part in filter(None, re.split(r",(?=\w+=)", text)):
    key, equals, value = part.partition("=")
    if not equals:
      raise UserError(f"--slurm: {part!r} is no key=value, such as partition=gpu,timeout_min=240")
    key = key.removeprefix("slurm_")
    if key not in known:
      raise unknown("--slurm: the key", key, known)
    key = key if key in shared else f"slurm_{key}"
    found[key] = value
    with contextlib.suppress(ValueError):  # a word is itself
      found[key] = json.loads(value)
  return found


def submit(
  runs: Sequence[PlannedRun], folder: pathlib.Path, settings: Mapping[str, Any], jobs: int | None
) -> str | None:
  """Submits the runs that no job in SLURM's queue is for, and says so.

  Args:
    runs: Those that are not finished.
    folder: The sweep's.
    settings: As from `parameters`.
    jobs: How many may run at a time; None is as many as SLURM lets.

  Returns:
    The id of the array job; None where all are in the queue.

  Raises:
    UserError: SLURM or submitit is not there, or refuses.
  """
  submitit = _submitit()
  if shutil.which("sbatch") is None or shutil.which("srun") is None:
    raise UserError("--launcher=slurm: there is no sbatch here; submit where the cluster has it")
  logs = folder / "logs" / "slurm"
  queued = _queued(logs)
  left = [run for run in runs if run.name not in queued]
  if skipped := sorted({queued[run.name] for run in runs if run.name in queued}):
    print(f"{len(runs) - len(left)} runs are in the queue already: job {', '.join(skipped)}")
  if not left:
    return None
  executor = submitit.AutoExecutor(logs, cluster="slurm", slurm_max_num_timeout=TIMEOUTS)
  try:
    executor.update_parameters(**_complete(settings, folder.resolve().name, jobs or len(left)))
    with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says stands in the error too
      submitted = executor.submit_array([Job(run) for run in left])
  except (AssertionError, NameError, TypeError, ValueError) as error:
    raise UserError(f"--slurm: {_line(error)}") from None
  except submitit.core.utils.FailedJobError as error:
    raise UserError(f"sbatch refuses: {_line(error)}") from None
  job = submitted[0].job_id.split("_")[0]
  print(
    f"{len(left)} runs are submitted as job {job}\n"
    f"  squeue -j {job}    how it stands in the queue\n"
    f"  python -m resnet_jax.report --workdir={folder}    what the runs have reached\n"
    f"  scancel {job}    ends it; the same command goes on"
  )
  return job


def _complete(settings: Mapping[str, Any], name: str, jobs: int) -> dict[str, Any]:
  ours = {"slurm_array_parallelism": jobs, "slurm_additional_parameters": {"requeue": True}}
  if "cpus_per_task" in settings:  # srun does not take it over from sbatch
    ours["slurm_srun_args"] = [f"--cpus-per-task={settings['cpus_per_task']}"]
  return {**DEFAULTS, "name": name, **settings, **ours}


def _queued(logs: pathlib.Path) -> dict[str, str]:
  """The jobs of this sweep that wait or run: the name of the run and the id."""
  submitit = _submitit()
  found = {}
  for job_id in _ask("squeue", "--me", "--array", "--format=%i").split():
    job = submitit.SlurmJob(logs, job_id)
    if job.paths.submitted_pickle.exists():
      found[job.submission().function.run.name] = job_id.split("_")[0]
  return found


def _ask(*command: str) -> str:
  answer = subprocess.run([*command, "--noheader"], capture_output=True, text=True)
  if answer.returncode:
    raise UserError(f"SLURM does not answer: {_line(answer.stderr)}")
  return answer.stdout


def _line(said: object) -> str:
  return " ".join(str(said).split())[:400]


def _submitit() -> Any:
  try:
    return importlib.import_module("submitit")
  except ImportError:
    raise UserError("--launcher=slurm needs submitit: pip install 'submitit>=1.5'") from None
