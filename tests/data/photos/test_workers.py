"""Processes that do a task: what they import, how they fail and how they end."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tasks

from resnet_jax.data.photos.workers import Pool
from resnet_jax.errors import UserError


@pytest.mark.parametrize("count", [0, 1, 3])
def test_requests_are_done_by_whichever_process_is_free(count):
  pool = Pool(tasks.double, count)
  with ThreadPoolExecutor(max(count, 1)) as threads:
    answers = list(threads.map(pool, [[i, i + 1] for i in range(30)]))
  for i, answer in enumerate(answers):
    np.testing.assert_array_equal(answer["doubled"], [2 * i, 2 * i + 2])
  processes = {int(answer["process"][0]) for answer in answers}
  assert (processes == {os.getpid()}) if not count else (os.getpid() not in processes)
  pool.close()
  assert not any(map(alive, processes - {os.getpid()}))


def test_arrays_of_any_size_come_back_and_stay():
  pool = Pool(tasks.growing, 1)
  answers = {size: pool(size) for size in (5, 100_000, 1, 70_000)}
  for size, answer in answers.items():
    assert (answer["a"] == size % 256).all()
    np.testing.assert_array_equal(answer["b"], np.arange(size))
    assert (answer["a"].shape, answer["c"].shape) == ((size, 3), (0, 4))
    answer["a"][...] = 0  # it is the caller's own
  pool.close()


def test_a_worker_imports_no_jax():
  pool = Pool(tasks.modules, 1)
  assert not pool(None)["known"].any()
  pool.close()


def test_errors_reach_the_caller():
  pool = Pool(tasks.failing, 1)
  with pytest.raises(UserError, match="config.data.dir is wrong"):
    pool("user")
  with pytest.raises(RuntimeError, match="in failing\n(.*\n)*KeyError: 'surprise'"):
    pool("other")
  pool.close()


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    (
      9,
      "was ended by SIGKILL (Killed) while it read photo 9; if memory ran out, a smaller "
      "config.data.workers needs less",
    ),
    (11, "was ended by SIGSEGV (Segmentation fault) while it read photo 11"),
    (6, "was ended by SIGABRT (Aborted) while it read photo 6"),
    (-3, "ended with code 3 while it read photo -3"),
  ],
)
def test_a_process_that_ends_is_reported_with_what_it_held(request_, message):
  pool = Pool(tasks.ending, 1, lambda request: f"photo {request}")
  with pytest.raises(UserError) as caught:
    pool(request_)
  assert str(caught.value) == f"a process that reads photographs {message}"
  pool.close()


def alive(process):
  try:
    state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0]
    return state != "Z"
  except OSError:
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_for_the_run(number):
  pool = Pool(tasks.slow, 1)
  process = int(pool(0)["process"][0])
  os.kill(process, number)
  assert int(pool(0)["process"][0]) == process
  pool.close()


# A run whose main module is as expensive as resnet_jax.main: workers must not import it again.
RUN = """
import sys, pathlib
sys.path[:0] = {paths!r}
import jax, tasks
from resnet_jax.data.photos.workers import Pool
if __name__ == "__main__":
  pools = [Pool(tasks.{task}, 1) for _ in range(2)]
  print(*(int(pool(0)["process"][0]) for pool in pools), flush=True)
  {then}
"""


def run(tmp_path, task, then):
  script = tmp_path / "main.py"
  paths = [str(pathlib.Path(tasks.__file__).parent), str(pathlib.Path(__file__).parents[3])]
  script.write_text(RUN.format(paths=paths, task=task, then=then))
  process = subprocess.Popen(
    [sys.executable, script],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  return process, [int(word) for word in process.stdout.readline().split()]


def gone(processes, seconds=5.0):
  end = time.monotonic() + seconds
  while any(map(alive, processes)) and time.monotonic() < end:
    time.sleep(0.02)
  return not any(map(alive, processes))


@pytest.mark.skipif(not pathlib.Path("/proc").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize("task", ["double", "slow"])
def test_workers_die_with_the_run(tmp_path, task):
  process, workers = run(tmp_path, task, "input()")
  assert len(workers) == 2
  assert all(map(alive, workers))
  process.kill()
  process.wait()
  assert gone(workers)


@pytest.mark.skipif(not pathlib.Path("/proc").is_dir(), reason="looks at /proc")
def test_a_run_that_forgets_its_workers_ends_all_the_same(tmp_path):
  then = "print(Pool(tasks.modules, 1)(0)['known'].any()); raise SystemExit(3)"
  process, workers = run(tmp_path, "double", then)
  assert process.wait(timeout=10) == 3
  assert process.stdout.read() == "False\n"  # nor is the run's main module imported again
  assert process.stderr.read() == ""
  assert gone(workers)
