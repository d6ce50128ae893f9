"""From process start to the first step, and compile time, by depth: flat, since depth is scanned.

    python benchmarks/startup.py                 # basic 56 and 1202, pre-activation 164 and 1001
    python benchmarks/startup.py --repeats=5 --json=startup.json

The command of the README is started on the digits (8x8, batch 32) with an empty compilation cache,
then again with the cache that this left, and timed until it prints its first step. Tracing and
compiling are timed in a process of their own without a cache.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

import common

PREACT = "configs/resnet.py:unit=bottleneck,after_add=full_preact,depth={},digits"
NETS = {
  "basic 56": "configs/resnet.py:depth=56,digits",
  "pre-activation 164": PREACT.format(164),
  "pre-activation 1001": PREACT.format(1001),
  "basic 1202": "configs/resnet.py:depth=1202,digits",
}
COMPILE = """
import sys, time, jax, numpy as np
from resnet_jax.training import feed, setup, steps
from resnet_jax.config import load_file
config = load_file(sys.argv[1])
config.data.batch_size = 32
run = setup.setup(config)
begin = time.perf_counter()
dispatch = jax.jit(steps.dispatch(run.learner, feed.MOST), donate_argnums=0)
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
      cwd=common.ROOT,
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
    [sys.executable, "-c", COMPILE, net],
    cwd=common.ROOT,
    check=True,
    capture_output=True,
    text=True,
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
  """Measures every net and prints medians, ranges and the ratio of compile times to depth 164."""
  given = common.parser(__doc__, repeats=3).parse_args()
  found = {name: measure(net, given.repeats) for name, net in NETS.items()}
  base = statistics.median(found["pre-activation 164"]["compile"])
  rows = [
    [
      name,
      *map(common.spread, seconds.values()),
      f"{statistics.median(seconds['compile']) / base:.2f}",
    ]
    for name, seconds in found.items()
  ]
  common.table(
    f"digits, batch 32: seconds, median (least to most) of {given.repeats}",
    ["", "first step, cold", "first step, warm", "trace", "compile", "compile, of 164's"],
    rows,
  )
  common.write(given, found)


if __name__ == "__main__":
  main()
