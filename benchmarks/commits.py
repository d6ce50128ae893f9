"""Whether two commits train the same bits, and whether the later resumes what the earlier began.

    python benchmarks/commits.py 1c20699                    # against the commit checked out here
    python benchmarks/commits.py 1c20699 --cases=resnet20,resumed
    python benchmarks/commits.py 1c20699 --photos=FOLDER    # with a ResNet-18 on class folders
    python benchmarks/commits.py 1c20699 --times=7          # how fast they start and step instead

Both are checked out into a temporary folder and run by this Python, one after the other, on this
machine. Compared are the rows of metrics.jsonl except their timing, and the parameters and BN
statistics of the last checkpoint, bit for bit. A line for each case; exit code 1 if one differs.
With --times, ResNet-20 is trained by both in alternation, on a machine that has nothing else to do,
and the later's medians stand as ratios of the earlier's.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import common
import numpy as np

# fmt: off
CASES = {
  "resnet20": ["--config=configs/resnet.py:depth=20,digits", "--config.train.steps=400"],
  "preact1001": ["--config=configs/preact1001.py:digits", "--config.train.steps=200"],
  "resnet18": [
    "--config=configs/imagenet/resnet18.py:folder", "--config.data.image_size=64",
    "--config.data.batch_size=16", "--config.train.steps=20", "--config.train.log_every=5",
    "--config.train.eval_every=10", "--config.data.workers=1",
  ],
  "processes": ["--config=configs/resnet.py:depth=20,digits", "--config.train.steps=100"],
  "resumed": ["--config=configs/resnet.py:depth=20,digits", "--config.train.steps=400",
              "--config.train.checkpoint_every=50"],
}
# fmt: on


def start(code: pathlib.Path, flags: list[str], workdir: pathlib.Path) -> subprocess.Popen:
  """A run by the code of a checkout."""
  command = [sys.executable, "-m", "resnet_jax.main", *flags, f"--workdir={workdir}"]
  return subprocess.Popen(
    command, cwd=code, env=os.environ | {"PYTHONPATH": str(code)}, stdout=subprocess.DEVNULL
  )


def train(case: str, code: pathlib.Path, flags: list[str], workdir: pathlib.Path) -> None:
  """Trains a case to its end."""
  if case != "processes":
    runs = [start(code, flags, workdir)]
  else:
    with socket.socket() as free:
      free.bind(("localhost", 0))
      several = [f"--coordinator=localhost:{free.getsockname()[1]}", "--num_processes=2"]
    runs = [start(code, [*flags, *several, f"--process_id={i}"], workdir) for i in range(2)]
  for run in runs:
    if run.wait():
      sys.exit(f"{case}: {code.name} ended with exit code {run.returncode}")


def begin_and_kill(code: pathlib.Path, flags: list[str], workdir: pathlib.Path) -> None:
  """Trains until the first checkpoint is there, and is killed."""
  run = start(code, flags, workdir)
  while run.poll() is None and not list(workdir.glob("checkpoints/[0-9]*/position")):
    time.sleep(0.1)
  run.send_signal(signal.SIGKILL)
  run.wait()


def facts(workdir: pathlib.Path) -> dict[str, object]:
  """The rows without their timing, by step and split, and the arrays of the last checkpoint."""
  import jax

  import resnet_jax

  rows = {}
  for line in (workdir / "metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    rows[f"row {row['step']} {row['split']}"] = row | {"timing": None}
  leaves = jax.tree_util.tree_leaves_with_path(resnet_jax.load_run(workdir).variables)
  arrays = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}
  return rows | arrays


def compare(case: str, folder: pathlib.Path, flags: list[str]) -> str:
  """What differs between the two commits in one case; "" if nothing does."""
  before, after = folder / "before" / case, folder / "after" / case
  train(case, folder / "code-before", flags, before)
  if case == "resumed":
    begin_and_kill(folder / "code-before", flags, after)
  train(case, folder / "code-after", flags, after)
  one, other = facts(before), facts(after)
  differ = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
  return "" if not differ else f"{len(differ)} of {len(one)} differ, such as {differ[0]}"


def timed(code: pathlib.Path, workdir: pathlib.Path) -> tuple[float, float]:
  """Seconds from a start to the first row, and of a hundred steps, without tests and saving."""
  flags = ["--config=configs/resnet.py:depth=20,digits", "--config.train.log_every=100"]
  steps = [f"--config.train.{key}=500" for key in ("steps", "eval_every", "checkpoint_every")]
  begin = time.monotonic()
  run = start(code, [*flags, *steps], workdir)
  rows = workdir / "metrics.jsonl"
  while run.poll() is None and not (rows.exists() and rows.read_bytes()):
    time.sleep(0.01)
  first = time.monotonic() - begin
  if run.wait():
    sys.exit(f"{code.name} ended with exit code {run.returncode}")
  rates = [json.loads(line)["timing"]["images_per_second"] for line in rows.open()]
  return first, 100 * 16 / statistics.median(rates[1:4])


def compare_times(folder: pathlib.Path, pairs: int) -> None:
  """Prints the medians of so many pairs of runs; one pair before them fills the caches."""
  times: dict[str, list[tuple[float, float]]] = {"before": [], "after": []}
  for number in range(pairs + 1):
    for which in sorted(times, reverse=bool(number % 2)):
      seconds = timed(folder / f"code-{which}", folder / which / str(number))
      times[which] += [seconds] if number else []
  for at, what in enumerate(("start to the first row", "a hundred steps")):
    before, after = (statistics.median(pair[at] for pair in times[w]) for w in ("before", "after"))
    print(f"{what}: {before:.2f} s before, {after:.2f} s after, {after / before:.3f}")


@contextlib.contextmanager
def checked_out(folder: pathlib.Path, **commits: str) -> Iterator[None]:
  """Both commits, in folders of their own within `folder`."""
  places = {folder / f"code-{which}": commit for which, commit in commits.items()}
  for place, commit in places.items():
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", place, commit], check=True)
  try:
    yield
  finally:
    for place in places:
      subprocess.run(["git", "worktree", "remove", "--force", place], check=True)


def main() -> None:
  """Compares the commits in every case and prints a line for each."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("before", help="the earlier commit")
  parser.add_argument("--after", default="HEAD")
  parser.add_argument("--cases", default="", help=f"of {', '.join(CASES)}; all by default")
  parser.add_argument("--photos", help="a folder that holds train/<class>/* and val/<class>/*")
  parser.add_argument("--times", type=int, help="so many pairs of timed runs, and no cases")
  given = parser.parse_args()
  cases = given.cases.split(",") if given.cases else [*CASES]
  if not given.photos:
    cases = [case for case in cases if case != "resnet18"]
  failed = False
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    with checked_out(folder, before=given.before, after=given.after):
      if given.times:
        compare_times(folder, given.times)
        cases = []
      for case in cases:
        flags = CASES[case] + ([f"--config.data.dir={given.photos}"] if case == "resnet18" else [])
        begin = time.monotonic()
        differ = compare(case, folder, flags)
        failed |= bool(differ)
        print(f"{case}: {differ or 'the same bits'} ({time.monotonic() - begin:.0f} s)", flush=True)
  print(common.machine())
  sys.exit(failed)


if __name__ == "__main__":
  main()
