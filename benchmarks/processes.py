"""Several processes and devices: what they cost, and that they change nothing.

    python benchmarks/processes.py weak           # images/s of 1, 2 and 4 processes or devices
    python benchmarks/processes.py elastic --out=results/elastic
    python benchmarks/processes.py checkpoints    # what a save costs, and a restart
    python benchmarks/processes.py bits           # whether a kill or a new compilation shows

weak         a batch of --batch for each device, as processes of one device each and as one process
             of virtual devices. All share the machine's cores, so that the ideal is the images/s of
             one: what is missing is the price of dividing
elastic      one run that is moved from 8 devices to 4, to 1 and back, in float64, against a run on
             one: rows, a figure, and the largest relative difference of the losses
checkpoints  the step time of the 1001 layers, of blocks of steps that begin with a save and of such
             that do not, in turns; and from the start of a process that resumes to its first step
bits         the losses of a run that is killed half way and resumed, and of one that is compiled
             anew, against those of a run that is left alone: how many rows differ, and by how much
"""

import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import common


def start(
  workdir: pathlib.Path, processes: int, devices: int, flags: list[str], **environment: str
) -> list[subprocess.Popen]:
  """The command as so many processes of so many virtual devices each; 0: of the real ones."""
  virtual = {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "JAX_PLATFORMS": "cpu",
  }
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    coordinator = f"--coordinator=localhost:{probe.getsockname()[1]}"
  started = []
  for number in range(processes):
    several = [coordinator, f"--process_id={number}", f"--num_processes={processes}"]
    command = [sys.executable, "-m", "resnet_jax.main", f"--workdir={workdir}", *flags]
    started.append(
      subprocess.Popen(
        command + (several if processes > 1 else []),
        cwd=common.ROOT,
        env=os.environ | (virtual if devices else {}) | {"PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
      )
    )
  return started


def finish(started: list[subprocess.Popen]) -> None:
  """Waits for the end of all."""
  said = [process.communicate()[0] for process in started]
  if any(process.returncode for process in started):
    raise SystemExit("\n".join(said))


def rows(workdir: pathlib.Path, split: str) -> list[dict]:
  """The rows of a split."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [row for row in map(json.loads, lines) if row["split"] == split]


def settings(**values: object) -> list[str]:
  """Flags of the group `train`."""
  return [f"--config.train.{key}={value}" for key, value in values.items()]


def weak(given: argparse.Namespace) -> None:
  """Images a second by the number of processes, and of devices of one process."""
  flags = [f"--config={common.NETS[given.net][0]},digits"]
  flags += settings(steps=given.steps, log_every=5, eval_every=given.steps)
  found: dict[str, dict[int, list[float]]] = {"processes": {}, "virtual devices": {}}
  for _ in range(given.repeats):
    for count in (1, 2, 4):
      for way, shape in (("processes", (count, 1)), ("virtual devices", (1, count))):
        with tempfile.TemporaryDirectory() as folder:
          workdir = pathlib.Path(folder) / "run"
          batch = f"--config.data.batch_size={given.batch * count}"
          finish(start(workdir, *shape, [*flags, batch]))
          rates = [row["timing"]["images_per_second"] for row in rows(workdir, "train")]
        # The first rows have compilation in them.
        found[way].setdefault(count, []).append(statistics.median(rates[len(rates) // 2 :]))
  table = []
  for count in (1, 2, 4):
    row = [str(count)]
    for rates in found.values():
      share = statistics.median(rates[count]) / statistics.median(rates[1])
      row.append(f"{common.spread(rates[count])}, {share:.2f}")
    table.append(row)
  title = f"{given.net} on the digits, batch {given.batch} each: images/s, share of one's"
  common.table(title, ["", *found], table)
  common.write(given, found)


SPLITS = ("train", "test")
LEGS = [(10, 1, 8), (20, 2, 2), (30, 1, 1), (40, 4, 2), (50, 1, 8)]  # to step, processes, devices


def elastic(given: argparse.Namespace) -> None:
  """One run on changing devices against one on a single device, as rows and a figure."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  flags = ["--config=configs/resnet.py:depth=20,digits", "--config.model.dtype=float64"]
  flags += ["--config.optim.schedule=constant", "--config.optim.warmup=0"]
  flags += settings(log_every=1, eval_every=10, checkpoint_every=10)
  with tempfile.TemporaryDirectory() as folder:
    moved, still = (pathlib.Path(folder) / name for name in ("moved", "still"))
    for steps, processes, devices in LEGS:
      finish(start(moved, processes, devices, [*flags, *settings(steps=steps)]))
    finish(start(still, 1, 1, [*flags, *settings(steps=LEGS[-1][0])]))
    found = {
      split: [
        (one["step"], one["loss"], two["loss"])
        for one, two in zip(rows(still, split), rows(moved, split), strict=True)
      ]
      for split in SPLITS
    }
  worst = max(abs(two - one) / one for split in found.values() for _, one, two in split)
  pyplot.rcParams["svg.hashsalt"] = "resnet_jax"
  figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
  steps, one, two = zip(*found["train"], strict=True)
  axes.plot(steps, one, color="0.7", linewidth=5, label="1 device throughout")
  axes.plot(steps, two, color="C0", linewidth=1.2, label="moved")
  begin = 0
  for end, processes, devices in LEGS:
    axes.axvline(end, color="0.85", linewidth=0.8)
    name = f"{processes * devices} devices\n{processes} process{'es' * (processes > 1)}"
    axes.text(
      (begin + end) / 2,
      0.97,
      name,
      ha="center",
      va="top",
      fontsize=8,
      transform=axes.get_xaxis_transform(),
    )
    begin = end
  axes.set(xlabel="step", ylabel="training loss", xlim=(0, LEGS[-1][0]))
  axes.set_title(f"ResNet-20, float64: largest relative difference {worst:.1e}", fontsize=10)
  axes.legend(frameon=False, loc="lower left")
  out = pathlib.Path(given.out)
  out.mkdir(parents=True, exist_ok=True)
  figure.savefig(out / "elastic.png", dpi=150)
  (out / "losses.json").write_text(json.dumps({"legs": LEGS, **found}, indent=1) + "\n")
  print(f"largest relative difference of the losses: {worst:.1e}; {out}")


def checkpoints(given: argparse.Namespace) -> None:
  """What a save costs the steps, and how soon a run that resumes takes its first."""
  import jax
  import ours

  from resnet_jax.runs.checkpoint import Checkpoints

  spec, size = common.NETS[given.net]
  trainer = ours.Trainer(ours.config(spec, {"dtype": given.dtype}), size, given.batch)
  trainer.steps(1)
  seconds: dict[str, list[float]] = {"plain": [], "with a save": [], "waiting": []}
  with tempfile.TemporaryDirectory() as folder:
    saves = Checkpoints(pathlib.Path(folder), print)
    for turn in range(2 * given.repeats + 1):
      begin = time.perf_counter()
      if turn % 2:
        saves.save(turn, trainer.state, {"step": turn})
        seconds["waiting"].append(time.perf_counter() - begin)
      for _ in range(given.steps):
        trainer.steps(1)
      if turn:  # the first warms up
        seconds["with a save" if turn % 2 else "plain"].append(time.perf_counter() - begin)
      saves.settle()
    saves.close()
  del trainer
  jax.clear_caches()
  extra = statistics.median(seconds["with a save"]) - statistics.median(seconds["plain"])
  seconds["restart"] = [_restart() for _ in range(given.repeats)]
  table = [[name, common.spread(values)] for name, values in seconds.items()]
  table.append(["a save's cost", f"{extra:.2f}"])
  table.append(["of a minute", f"{100 * extra / 60:.2f} %"])
  title = f"{given.net}, batch {given.batch}, {given.steps} steps a block: seconds"
  common.table(title, ["", "median (least to most)"], table)
  common.write(given, seconds)


def _restart() -> float:
  """Seconds from the start of the process to the first step after a checkpoint, cache warm."""
  flags = ["--config=configs/preact1001.py:digits"]
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / "run"
    schedule = settings(log_every=1, checkpoint_every=2)
    (process,) = start(workdir, 1, 0, [*flags, *schedule])
    while not list((workdir / "checkpoints").glob("*[0-9]")):
      if process.poll() is not None:
        raise SystemExit(f"{flags[0]} ended before its first checkpoint")
      time.sleep(0.1)
    process.kill()
    process.communicate()
    begin = time.perf_counter()
    (process,) = start(workdir, 1, 0, [*flags, *schedule])
    assert process.stdout
    if not any(re.match(r"step \d+/", line) for line in process.stdout):
      raise SystemExit(f"{flags[0]} ended before its first step")
    seconds = time.perf_counter() - begin
    process.kill()
    process.communicate()
  return seconds


def bits(given: argparse.Namespace) -> None:
  """Counts the rows of a killed run, and of one compiled anew, that are not those of a third."""
  flags = [f"--config={common.NETS[given.net][0]},digits"]
  flags += settings(steps=30 * given.steps, log_every=10, eval_every=400, checkpoint_every=100)
  with tempfile.TemporaryDirectory() as folder:
    alone, killed, anew = (pathlib.Path(folder) / name for name in ("alone", "killed", "anew"))
    finish(start(alone, 1, 0, flags))
    (process,) = start(killed, 1, 0, flags)
    while process.poll() is None and not _half(killed, given.steps):
      time.sleep(0.05)
    process.kill()
    process.communicate()
    if process.returncode == 0:
      raise SystemExit("the run ended before it was killed; take more --steps")
    finish(start(killed, 1, 0, flags))
    finish(start(anew, 1, 0, flags, JAX_COMPILATION_CACHE_DIR=f"{folder}/cache"))
    losses = {
      path.name: {
        (row["step"], split): row["loss"] for split in SPLITS for row in rows(path, split)
      }
      for path in (alone, killed, anew)
    }
  found, table = {}, []
  for name in ("killed", "anew"):
    pairs = [(losses[name][key], loss) for key, loss in losses["alone"].items()]
    worst = max(abs(other - loss) / loss for other, loss in pairs)
    found[name] = {
      "rows": len(pairs),
      "differ": sum(a != b for a, b in pairs),
      "largest relative": worst,
    }
    table.append([name, *map(str, found[name].values())])
  title = f"{given.net} on the digits, against a run that is left alone"
  common.table(title, ["", *found["killed"]], table)
  common.write(given, found | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")})


def _half(workdir: pathlib.Path, steps: int) -> bool:
  """Whether the run has come so far that a checkpoint is behind it, and half of its steps."""
  return (workdir / "metrics.jsonl").exists() and len(rows(workdir, "train")) > 1.5 * steps


def main() -> None:
  """Measures what is asked for."""
  parser = common.parser(__doc__, repeats=5)
  parser.add_argument("what", choices=["weak", "elastic", "checkpoints", "bits"])
  parser.add_argument("--net", help="by default resnet20, of checkpoints' saves preact1001-8x8")
  parser.add_argument("--dtype", default="float32", help="of checkpoints' saves")
  parser.add_argument("--batch", type=int, default=32)
  parser.add_argument("--steps", type=int, default=40, help="of one measurement")
  parser.add_argument("--out", default="elastic", help="folder of elastic")
  given = parser.parse_args()
  given.net = given.net or ("preact1001-8x8" if given.what == "checkpoints" else "resnet20")
  {"weak": weak, "elastic": elastic, "checkpoints": checkpoints, "bits": bits}[given.what](given)


if __name__ == "__main__":
  main()
