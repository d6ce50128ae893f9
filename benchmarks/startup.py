"""From process start to the first step, and compile time, by depth: flat, since depth is scanned.

    python benchmarks/startup.py                       # pre-activation 164 and 1001, basic 1202
    python benchmarks/startup.py --repeats=5 --json=startup.json

The command of the README is started on the digits (8x8, batch 32) with an empty compilation cache,
then again with the cache that this left, and timed until it prints its first step. Tracing and
compiling are timed in a process of their own without a cache.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).resolve().parents[1]
PREACT = "configs/resnet.py:unit=bottleneck,after_add=full_preact,depth={},digits"
NETS = {
  "pre-activation 164": PREACT.format(164),
  "pre-activation 1001": PREACT.format(1001),
  "basic 1202": "configs/resnet.py:depth=1202,digits",
}
COMPILE = """
import sys, time, jax, numpy as np
from resnet_jax import steps, train
from resnet_jax.config import load_file
config = load_file(sys.argv[1])
config.data.batch_size = 32
run = train.setup(config)
begin = time.perf_counter()
dispatch = jax.jit(steps.dispatch(run.task, train.MOST), donate_argnums=0)
lowered = dispatch.lower(run.template, run.train, np.int32(1))
traced = time.perf_counter()
lowered.compile()
print(traced - begin, time.perf_counter() - traced)
"""


def first_step(net: str, cache: str) -> float:
  """Seconds from the start of the command to the line of its first step."""
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, "-m", "resnet_jax.main", f"--config={net}", f"--workdir={workdir}"]
    begin = time.perf_counter()
    process = subprocess.Popen(
      [*command, "--config.data.batch_size=32"],
      cwd=ROOT,
      env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache, "PYTHONUNBUFFERED": "1"},
      stdout=subprocess.PIPE,
      text=True,
    )
    assert process.stdout
    for line in process.stdout:
      if line.startswith("step 1/"):
        seconds = time.perf_counter() - begin
        process.kill()
        process.wait()
        return seconds
  raise SystemExit(f"{net} ended with exit code {process.wait()} before its first step")


def trace_and_compile(net: str) -> tuple[float, float]:
  """Seconds to trace and to compile the training step."""
  output = subprocess.run(
    [sys.executable, "-c", COMPILE, net], cwd=ROOT, check=True, capture_output=True, text=True
  ).stdout
  traced, compiled = map(float, output.split())
  return traced, compiled


def measure(net: str, repeats: int) -> dict[str, list[float]]:
  """All measurements of one net, in seconds."""
  seconds: dict[str, list[float]] = {"cold": [], "warm": [], "trace": [], "compile": []}
  for _ in range(repeats):
    with tempfile.TemporaryDirectory() as cache:
      seconds["cold"].append(first_step(net, cache))
      seconds["warm"].append(first_step(net, cache))
    traced, compiled = trace_and_compile(net)
    seconds["trace"].append(traced)
    seconds["compile"].append(compiled)
  return seconds


def main() -> None:
  """Measures every net and prints medians, ranges and the ratio to the first."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--repeats", type=int, default=3, help="runs of each net")
  parser.add_argument("--json", type=pathlib.Path, help="a file for all measurements")
  arguments = parser.parse_args()
  found = {name: measure(net, arguments.repeats) for name, net in NETS.items()}
  table = Table(title=f"seconds, median (least to most) of {arguments.repeats}")
  table.add_column("digits, batch 32")
  base = statistics.median(next(iter(found.values()))["compile"])
  for heading in ("first step, cold", "first step, warm", "trace", "compile", "compile, ratio"):
    table.add_column(heading, justify="right")
  for name, seconds in found.items():
    cells = [f"{statistics.median(s):.1f} ({min(s):.1f} to {max(s):.1f})" for s in seconds.values()]
    table.add_row(name, *cells, f"{statistics.median(seconds['compile']) / base:.2f}")
  Console(width=120).print(table)
  if arguments.json:
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    arguments.json.write_text(json.dumps({"seconds": found, **machine}, indent=2) + "\n")


if __name__ == "__main__":
  main()
