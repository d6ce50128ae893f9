"""A campaign of faults against the real command, which must end with the bits of a run without.

    python -m tests.faults.campaign --injections=100 --seed=0 --out=results/faults

Runs are killed, stopped, cut off and damaged at random moments, drawn from the seed, and started
again, several times each; then their rows, weights, optimizer and position are compared with those
of a run that nobody disturbed. The folder gets a row for each injection and a table.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import jax
import numpy as np

from resnet_jax import api
from resnet_jax.runs import metrics
from tests.many import Processes, python

CHAIN = 8  # injections into one run
DISK = 24  # megabytes of the small disk
SETTINGS = {"steps": 900, "log_every": 7, "eval_every": 100, "checkpoint_every": 20}
# How many of a hundred: of one process, of one of two, and of the files of a run that was killed.
WEIGHTS = {
  "SIGKILL": 14,
  "SIGTERM": 10,
  "SIGKILL of one of two": 8,
  "SIGTERM of one of two": 8,
  "SIGSTOP of one of two": 6,
  "bit flipped": 18,
  "file cut short": 10,
  "file deleted": 10,
  "garbage in metrics": 8,
  "full disk": 8,
}
CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR")
ALONE = {"JAX_PLATFORMS": "cpu", "RESNET_JAX_DISK_PATIENCE": "3"}


def schedule(count, seed):
  """So many kinds of injection, in the proportions of WEIGHTS, each at least once where it fits."""
  whole = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
  every = list(WEIGHTS)
  chosen = every[:count] + random.Random(seed).sample(whole, len(whole))
  counts = collections.Counter()
  for kind in chosen if count < len(whole) else whole:
    if counts.total() < count:
      counts[kind] += 1
  return counts


def drawn(counts, pairs, generator):
  """The kinds for runs of two processes, or of one, in random order."""
  kinds = [k for k, n in counts.items() for _ in range(n) if k.endswith("of two") == pairs]
  generator.shuffle(kinds)
  return kinds


@contextlib.contextmanager
def small_disk(folder):
  """A disk of a few megabytes at `folder`; yields whether there is one."""
  folder.mkdir(parents=True, exist_ok=True)
  mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
  mounted = not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode == 0
  try:
    yield mounted
  finally:
    if mounted:
      subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a reader may still hold it


def facts(workdir):
  return [{k: v for k, v in row.items() if k != "timing"} for row in metrics.read_rows(workdir)]


def saved(workdir):
  """The checkpoints that are whole, as far as their names tell."""
  folders = (workdir / "checkpoints").glob("[0-9]*")
  return {path.name for path in folders if path.name.isdecimal()}


def final(workdir):
  """Rows, state and position of a finished run, but for what is time and memory, and for the rows
  in the position, which have seconds and are others after a kill.
  """
  _, _, state, position = api.restore(workdir, "last", api.own_config(workdir))
  rest = {k: v for k, v in position.items() if k not in ("seconds", "peak_memory_bytes", "rows")}
  return facts(workdir), [np.asarray(leaf) for leaf in jax.tree.leaves(state)], rest


def difference(workdir, reference):
  """What of a finished run is not as in the reference; "" where all is, bit for bit."""
  (rows, leaves, position), (right_rows, right_leaves, right_position) = final(workdir), reference
  whole = len((workdir / "metrics.jsonl").read_bytes().splitlines())
  if rows != right_rows or whole != len(right_rows):
    return f"metrics: {whole} rows, {len(right_rows)} in the reference"
  if position != right_position:
    return f"position: {position}, in the reference {right_position}"
  if not all(np.array_equal(a, b) for a, b in zip(leaves, right_leaves, strict=True)):
    return "weights, statistics or optimizer"
  return ""


class Campaign:
  """Injections into runs of one process or of two; what came of each is in `injections`."""

  def __init__(self, folder, seed, settings=None, start=python):
    self.folder, self.random, self.start = folder, random.Random(seed), start
    self.settings = SETTINGS | (settings or {})
    self.injections, self.faults, self.runs = [], [], 0
    self.kinds_of_files = collections.Counter()

  def begin(self, workdir, processes):
    flags = [f"--config.train.{key}={value}" for key, value in self.settings.items()]
    return Processes(
      processes,
      self.folder / "logs",  # not on the disk that fills
      "--config=configs/resnet.py:depth=8,digits",
      f"--workdir={workdir}",
      *flags,
      start=self.start,
      JAX_COMPILATION_CACHE_DIR=CACHE or str(self.folder / "cache"),
      **ALONE,
    )

  def reference(self, processes):
    workdir = self.folder / f"reference{processes}"
    codes = self.begin(workdir, processes).codes(1200)
    assert codes == [0] * processes, codes
    return final(workdir)

  def run(self, kinds, processes):
    """Makes the injections, a few into each run."""
    reference, left = self.reference(processes), list(kinds)
    while left:
      self.runs += 1
      with small_disk(self.folder / f"disk{self.runs}") as small:
        if not small:
          left = [kind for kind in left if kind != "full disk"]
        workdir = self.folder / f"disk{self.runs}" / "run"
        for _ in range(min(CHAIN, len(left))):
          if not self.inject(workdir, processes, left[0]):
            break  # it came to its end before that
          left.pop(0)
        self.end(workdir, processes, reference)

  def end(self, workdir, processes, reference):
    """Lets a run come to its end, and compares."""
    running = self.begin(workdir, processes)
    codes = running.codes(1200)
    self.note(running)
    wrong = f"exit codes {codes}" if any(codes) else difference(workdir, reference)
    if wrong:
      self.faults.append(f"run {self.runs}: {wrong}")
      shutil.copytree(workdir, self.folder / f"wrong{self.runs}")
    print(f"run {self.runs}: {wrong or 'as if nothing had been'}", flush=True)

  def note(self, running):
    """What the start after an injection said of it."""
    if self.injections and "afterwards" not in self.injections[-1]:
      said = re.findall(r"(checkpoint \d+ is damaged|resuming at step \d+|done:)", running.said())
      self.injections[-1]["afterwards"] = "; ".join(said) or "said nothing of a checkpoint"

  def inject(self, workdir, processes, kind):
    """One injection into a start of the run; False where the run ended before it."""
    running = self.begin(workdir, processes)
    rows, before = len(facts(workdir)), saved(workdir)
    # Damage needs a checkpoint before the newest, as a run keeps several of.
    moving = (
      (lambda: len(facts(workdir)) > rows)
      if kind.startswith("SIG")
      else lambda: len(saved(workdir) - before) > 1 and len(saved(workdir)) > 2
    )
    early = kind.startswith("SIG") and processes == 1 and self.random.random() < 0.3
    if early:  # before the first step as well
      time.sleep(self.random.uniform(0.2, 8))
    elif running.until(moving):
      time.sleep(self.random.uniform(0, 3 * processes))
    self.note(running)
    if not running.running():
      return False
    record = {"injection": len(self.injections) + 1, "run": self.runs, "kind": kind}
    record["step"] = max([row["step"] for row in facts(workdir)], default=0)
    begin = time.monotonic()
    if kind.startswith("SIG"):
      record["exit codes"] = self.signal(running, kind, record)
    elif kind == "full disk":
      record["exit codes"] = self.fill(running, workdir, record)
    else:
      for process in running.all:
        process.kill()
      record["exit codes"] = running.codes()
      self.damage(workdir, kind, record)
    record["seconds"] = round(time.monotonic() - begin, 1)
    self.injections.append(record)
    print(json.dumps(record), flush=True)
    return True

  def signal(self, running, kind, record):
    """Sends it to one process; returns the exit codes, which must be those that are right."""
    number, name = self.random.randrange(len(running.all)), kind.split()[0]
    record["target"] = f"process {number}"
    running.all[number].send_signal(getattr(signal, name))
    others = [process for process in running.all if process is not running.all[number]]
    for process in others:
      process.wait(120)
    if name == "SIGSTOP":
      running.all[number].kill()
    codes = running.codes(120)
    done = "done:" in running.said()  # it had come to its end
    # SIGTERM while Python starts, before anything is done, ends it as it ends any program.
    right = (75, -signal.SIGTERM) if name == "SIGTERM" else (-signal.SIGKILL,)
    fitting = codes[number] in right and all(
      code == 75 for at, code in enumerate(codes) if at != number
    )
    fitting |= done and set(codes) <= {0, *right}
    if others and name != "SIGTERM" and not done:
      fitting &= f"process {number} of 2" in running.said(1 - number)
    if not fitting:
      said = " / ".join(running.said(at)[-300:] for at in range(len(codes)))
      self.faults.append(f"injection {len(self.injections) + 1}: exit codes {codes}: {said}")
    return codes

  def fill(self, running, workdir, record):
    """Fills the disk for a while, in which the run goes on, is told to leave or is killed."""
    then = record["target"] = self.random.choice(["then freed", "then SIGTERM", "then SIGKILL"])
    ballast = workdir.parent / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
      while True:
        file.write(bytes(2**14))
    time.sleep(self.random.uniform(2, 6))
    if then == "then SIGTERM" and running.running():
      running.all[0].terminate()
      code = running.codes()[0]
      if code == 1 and "cannot be written" not in running.said():
        self.faults.append(f"injection {len(self.injections) + 1}: {running.said()[-300:]}")
    elif then == "then freed" and running.running():
      ballast.unlink()
      time.sleep(self.random.uniform(1, 3))
    for process in running.all:
      process.kill()
    ballast.unlink(missing_ok=True)
    return running.codes()

  def damage(self, workdir, kind, record):
    """Damages a file of a run that is not running."""
    if kind == "garbage in metrics":
      garbage = self.random.choice([b'{"step": 7, "spl', self.random.randbytes(200), b"\n\n{}\n"])
      with (workdir / "metrics.jsonl").open("ab") as file:
        file.write(garbage)
      record["target"] = f"{len(garbage)} bytes"
      return
    newest = workdir / "checkpoints" / str(max(map(int, saved(workdir))))
    files = {}
    for path in sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size):
      name = re.sub(r"[0-9a-f]{16,}", "*", str(path.relative_to(newest)))
      files.setdefault(name, []).append(path)
    # The kind of file that was damaged this way least often.
    name = min(files, key=lambda name: (self.kinds_of_files[kind, name], self.random.random()))
    self.kinds_of_files[kind, name] += 1
    path, record["target"] = self.random.choice(files[name]), name
    if kind == "file deleted":
      path.unlink()
      return
    data = bytearray(path.read_bytes())
    if kind == "bit flipped":
      data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
    else:
      del data[self.random.randrange(len(data)) :]
    path.write_bytes(data)


def table(injections):
  """The injections by kind, as Markdown."""
  lines = [
    "| injection | times | resumed | passed a damaged checkpoint over | longest until all left |",
    "|---|---|---|---|---|",
  ]
  for kind in WEIGHTS:
    if not (of_kind := [record for record in injections if record["kind"] == kind]):
      continue
    after = [record.get("afterwards", "") for record in of_kind]
    passed = sum("damaged" in text for text in after)
    resumed = sum("resuming" in text for text in after)
    longest = max(record["seconds"] for record in of_kind)
    lines.append(f"| {kind} | {len(of_kind)} | {resumed} | {passed} | {longest:.0f} s |")
  return "\n".join(lines) + "\n"


def main():
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--injections", type=int, default=100)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/faults"))
  given = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  counts, generator = schedule(given.injections, given.seed), random.Random(given.seed)
  with tempfile.TemporaryDirectory() as folder:
    campaigns = [
      Campaign(pathlib.Path(folder) / str(processes), 10 * given.seed + processes)
      for processes in (1, 2)
    ]
    kinds = [drawn(counts, pairs, generator) for pairs in (False, True)]
    with concurrent.futures.ThreadPoolExecutor() as pool:  # beside each other, as two mostly wait
      for future in concurrent.futures.as_completed(
        [pool.submit(c.run, k, n) for c, k, n in zip(campaigns, kinds, (1, 2), strict=True)]
      ):
        future.result()
  injections = [
    {"processes": processes} | record
    for processes, campaign in zip((1, 2), campaigns, strict=True)
    for record in campaign.injections
  ]
  faults = [fault for campaign in campaigns for fault in campaign.faults]
  runs = sum(campaign.runs for campaign in campaigns)
  given.out.mkdir(parents=True, exist_ok=True)
  lines = "".join(json.dumps(record) + "\n" for record in injections)
  (given.out / "injections.jsonl").write_text(lines)
  said = f"\n{runs} runs, {len(injections)} injections, {len(faults)} faults\n"
  said = table(injections) + said + "".join(f"\n- {fault}" for fault in faults)
  (given.out / "table.md").write_text(said)
  print(said)
  raise SystemExit(bool(faults))


if __name__ == "__main__":
  main()
