"""What a person at the terminal sees of a sweep: a table there, plain lines elsewhere."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.runs.headline import of_result, tested
from resnet_jax.runs.progress import best_effort_console
from resnet_jax.sweep.plan import PlannedRun
from resnet_jax.sweep.status import Status

STYLES = {"done": "green", "running": "cyan", "failed": "red", "diverged": "yellow"}


def cell(status: Status) -> str:
  """A run in a few letters: its headline, or how far it is."""
  if status.state == "done":
    return of_result(status.result).text(tested(status.result))
  if status.state in ("running", "stopped"):
    return status.state + (f" {100 * status.step // status.steps} %" if status.steps else "")
  return status.state


class Screen:
  """All runs, a row of the sweep in a line; messages stay above."""

  def __init__(self, runs: Sequence[PlannedRun], console: Any = None):
    self.runs = runs
    self.console = console or best_effort_console()
    self._live: Any = None
    self._said: dict[PlannedRun, str] = {}

  def __enter__(self) -> "Screen":
    if self.console.is_terminal:
      from rich.live import Live

      self._live = Live(console=self.console, auto_refresh=False)
      self._live.start()
    return self

  def __exit__(self, *_: object) -> None:
    if self._live:
      self._live.stop()

  def message(self, text: str) -> None:
    """Prints a line that stays."""
    self.console.print(text, markup=False)

  def update(self, found: Mapping[PlannedRun, Status]) -> None:
    """Shows how far each run is; without a terminal, a line where one has changed its state."""
    if self._live:
      self._live.update(self._render(found), refresh=True)
      return
    finished = sum(status.finished for status in found.values())
    for run, status in found.items():
      if self._said.get(run) != status.state and status.state != "waiting":
        reason = f": {status.reason}" if status.reason else ""
        title = of_result(status.result).title
        result = f", test {title} {cell(status)}" if status.state == "done" else ""
        result = " already" + result if result and run not in self._said else result
        self.message(f"[{finished}/{len(found)}]  {run.name}: {status.state}{result}{reason}")
      self._said[run] = status.state

  def _render(self, found: Mapping[PlannedRun, Status]):
    from rich.table import Table as Grid
    from rich.text import Text

    seeds = sorted({run.seed for run in self.runs})
    grid = Grid(caption=_caption(found), caption_justify="left", box=None, pad_edge=False)
    for heading in ("", *(f"seed {seed}" for seed in seeds), "median"):
      grid.add_column(heading, justify="left" if not heading else "right")
    for row in dict.fromkeys(run.row for run in self.runs):
      by_seed = {run.seed: status for run, status in found.items() if run.row == row}
      cells = [
        Text(cell(by_seed[seed]), STYLES.get(by_seed[seed].state, "dim")) if seed in by_seed else ""
        for seed in seeds
      ]
      done = [status.result for status in by_seed.values() if status.state == "done"]
      values = [tested(result) for result in done]
      median = of_result(done[0]).text(statistics.median(values)) if values else ""
      grid.add_row(row.title, *cells, median)
    return grid


def _caption(found: Mapping[PlannedRun, Status]) -> str:
  states = [status.state for status in found.values()]
  counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
  failed = [f"{run.name}: {s.reason}" for run, s in found.items() if s.state == "failed"]
  return "\n".join([counts, *failed])
