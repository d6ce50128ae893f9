"""What the benchmarks share: processes that wait for their turn, tables, and where results go."""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the package, also where it is not installed

PREACT = "configs/resnet.py:unit=bottleneck,after_add=full_preact,depth={}"
# The config of each net, and the size of its images.
NETS = {
  "resnet20": ("configs/resnet.py:depth=20", 32),
  "resnet110": ("configs/resnet.py:depth=110", 32),
  "preact164": (PREACT.format(164), 32),
  "preact1001": (PREACT.format(1001), 32),
  "preact1001-8x8": (PREACT.format(1001), 8),
  "resnet18": ("configs/resnet.py:family=imagenet,unit=basic,depth=18", 112),
  "resnet50": ("configs/resnet.py:family=imagenet,unit=bottleneck,depth=50", 224),
  "preact200": (PREACT.format(200) + ",family=imagenet", 224),
}


class Ended(SystemExit):
  """A process of a benchmark ended before it was told to; ends the benchmark, if nobody minds."""


class Child:
  """A process of a benchmark's own script, which waits to be told what to time."""

  def __init__(self, script: str, arguments: dict[str, Any], **environment: str):
    self.process = subprocess.Popen(
      [sys.executable, script, "--child", json.dumps(arguments)],
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | environment,
    )

  def ready(self) -> dict[str, Any]:
    """Waits until the process has compiled; returns what it says of itself."""
    return json.loads(self._read())

  def begin(self, what: str = "") -> None:
    """Tells the process to begin."""
    self.process.stdin.write(what + "\n")  # type: ignore[union-attr]
    self.process.stdin.flush()  # type: ignore[union-attr]

  def seconds(self) -> float:
    """What the process has taken for what it was told last."""
    return float(self._read())

  def end(self) -> None:
    """Ends the process."""
    self.process.communicate()

  def _read(self) -> str:
    line = self.process.stdout.readline()  # type: ignore[union-attr]
    if not line:
      raise Ended(f"{self.process.args} ended with exit code {self.process.wait()}")
    return line


def serve(about: dict[str, Any], measure: Callable[[str], Any]) -> None:
  """A child's side: says that it is ready, then times what it is told until nobody asks."""
  print(json.dumps(about), flush=True)
  for line in sys.stdin:
    begin = time.perf_counter()
    measure(line.strip())
    print(time.perf_counter() - begin, flush=True)


@contextlib.contextmanager
def children(started: dict[str, Child]) -> Iterator[dict[str, dict[str, Any]]]:
  """Waits for processes to be ready and ends them; what each says of itself."""
  try:
    yield {name: child.ready() for name, child in started.items()}
  finally:
    for child in started.values():
      child.end()


def arguments() -> dict[str, Any] | None:
  """A child's arguments; None in the process that the user has started."""
  return json.loads(sys.argv[2]) if sys.argv[1:2] == ["--child"] else None


def parser(doc: str | None, repeats: int | None = 5) -> argparse.ArgumentParser:
  """A parser with the flags that all benchmarks have; with --repeats where something is timed."""
  parsed = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  if repeats:
    parsed.add_argument("--repeats", type=int, default=repeats, help="measurements of each cell")
  parsed.add_argument("--json", type=pathlib.Path, help="a file for all measurements")
  return parsed


def known_nets(text: str) -> list[str]:
  """The nets that a flag names; ends the program where one is unknown."""
  nets = words(text)
  for net in nets:
    if net not in NETS:
      raise SystemExit(f"error: the net {net!r} is unknown; choose from {', '.join(NETS)}")
  return nets


def words(text: str, separator: str = ",") -> list[str]:
  """A flag's list, `a,b`."""
  return [word for word in text.split(separator) if word]


def spread(values: list[float], digits: int = 1, scale: float = 1.0) -> str:
  """`median (least to most)`."""
  numbers = (statistics.median(values), min(values), max(values))
  return "{} ({} to {})".format(*(f"{scale * number:.{digits}f}" for number in numbers))


def table(title: str, headings: list[str], rows: list[list[str]]) -> None:
  """Prints a table whose first column is names."""
  from rich.console import Console
  from rich.table import Table

  drawn = Table(title=title, title_justify="left")
  for number, heading in enumerate(headings):
    drawn.add_column(heading, justify="right" if number else "left")
  for row in rows:
    drawn.add_row(*row)
  Console(width=130).print(drawn)


def write(given: argparse.Namespace, found: Any) -> None:
  """Writes what was measured, on which machine and how, where --json says."""
  if given.json:
    arguments = {key: value for key, value in vars(given).items() if key != "json"}
    report = {"arguments": arguments, "machine": machine(), "measured": found}
    given.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {given.json}")


def machine() -> dict[str, Any]:
  """The hardware and the versions behind a measurement."""
  known = pathlib.Path("/proc/cpuinfo")
  lines = known.read_text().splitlines() if known.is_file() else []
  names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
  gpus = ""
  with contextlib.suppress(OSError):
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    gpus = subprocess.run(query, capture_output=True, text=True).stdout.strip()
  versions = {}
  for package in ("jax", "jaxlib", "flax", "torch"):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return {
    "cpu": names[0] if names else platform.machine(),
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "gpu": gpus.replace("\n", ", ") or None,
    "versions": versions,
  }
