"""The SLURM of this host, such as .ci/slurm.sh makes: what tests ask of it."""

import functools
import re
import shutil
import subprocess
import time


def ask(*command, timeout=60):
  """What a command of SLURM prints."""
  done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout)
  return done.stdout.strip()


@functools.cache
def answers():
  """Whether there is one that runs; commands of one that does not run wait for a minute."""
  try:
    return bool(shutil.which("sbatch") and ask("sinfo", "--noheader", timeout=10))
  except (subprocess.SubprocessError, OSError):
    return False


def until(true, seconds=600):
  """Waits until it is true; returns what it is."""
  end = time.monotonic() + seconds
  while not (value := true()):
    assert time.monotonic() < end, ask("squeue")
    time.sleep(0.3)
  return value


def preempt():
  """A job that needs the whole node, in the partition that goes before."""
  ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def urgent():
  return ask("squeue", "--partition=urgent", "--noheader", "--format=%i").split()


def restarts(job):
  return int(re.search(r"Restarts=(\d+)", ask("scontrol", "show", "job", job))[1])


def in_queue(job):
  ids = ask("squeue", "--me", "--array", "--noheader", "--format=%i").split()
  return [job_id for job_id in ids if job_id.split("_")[0] == job]
