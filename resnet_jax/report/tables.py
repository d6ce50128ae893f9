"""The tables of a page."""

import re
import shlex
import statistics
from collections.abc import Mapping, Sequence

from resnet_jax import paper
from resnet_jax.report import facts, paired
from resnet_jax.report.page import Cell, Column, Row, Table
from resnet_jax.report.read import Group, ReportedRow, ReportedSweep
from resnet_jax.report.style import MARKERS, Style
from resnet_jax.sweep.plan import flags

ONE_SEED = "†"


def results(group: Group, styles: Mapping[str, Style]) -> Table:
  """Our errors, the differences to the base row, and what the papers print of the same nets.

  Every error stands under the name of the data set that it was measured on.
  """
  data = facts.all_data(group.rows)
  on = data[0] if len(data) == 1 else "each row's own data"
  budgets = list(dict.fromkeys(filter(None, map(facts.budget, group.rows))))
  papers = list(dict.fromkeys(entry.measured_on for _, entry in _published(group)))
  rows = [
    [
      _name(row.name, styles[row.name], "; ".join(facts.trouble(row))),
      (_words("data"), Cell(facts.measured_on(row) if len(data) > 1 else "")),
      (_words("budget"), Cell(facts.budget(row) if len(budgets) > 1 else "")),
      *_ours(row, on),
      *_difference(row, group.base),
      *(cell for measured_on in papers for cell in _theirs(row, measured_on)),
    ]
    for row in group.rows
  ]
  return Table(_caption(group, budgets, papers), rows)


def _words(name: str, over: str = "") -> Column:
  return Column(name, over, numeric=False)


def _name(name: str, style: Style, note: str = "") -> tuple[Column, Cell]:
  return _words("row"), Cell(name, note, style.color, MARKERS[style.marker])


def _ours(row: ReportedRow, on: str) -> Row:
  """Median, mean and deviation, seeds, and the training error and loss at the end."""
  metric, summary = row.headline, paired.summarize(row.finals)
  number = f".{metric.digits}f"
  states = {run.status.state for run in row.runs}
  median, mean = Cell("diverged" if states == {"diverged"} else "–"), ""
  if summary:
    median = Cell(f"{summary.median:{number}}", strong=True)
    if facts.failed(row):
      median = Cell("fail", median.text, strong=True)
    spread = "" if summary.deviation is None else f" ± {summary.deviation:{number}}"
    mean = f"{summary.mean:{number}}{spread}"
  train, loss = (facts.median(row.last("train", key)) for key in (metric.name, "loss"))
  error, end = f"test {metric.heading(on)}", "training, at the end"
  return [
    (Column("median", error), median),
    (Column("mean ± deviation", error), Cell(mean)),
    (Column("seeds", error), Cell(f"{len(row.done)} of {len(row.runs)}")),
    (Column(metric.heading(), end), Cell("" if train is None else f"{train:{number}}")),
    (Column("loss", end), Cell("" if loss is None else f"{loss:#.3g}")),
  ]


def _difference(row: ReportedRow, base: ReportedRow) -> Row:
  found, digits = facts.difference(row, base), row.headline.digits
  mean, interval = Cell("base" if row is base else ""), Cell("")
  if found:
    few = min(len(row.runs), len(base.runs))
    mark = f" {ONE_SEED}" if found.seeds == 1 else ""
    note = f"{found.seeds} seeds" if 1 < found.seeds < few else ""
    sure = round(found.low, digits) > 0 or round(found.high, digits) < 0  # as printed
    shown = [f"{value:+.{digits}f}".replace("-", "−") for value in found[:3]]
    mean, interval = Cell(shown[0], strong=sure), Cell(f"{shown[1]} to {shown[2]}{mark}", note)
  points = "points" if row.headline.unit == "%" else row.headline.title
  over = f"difference to {base.name}"
  return [(Column(points, over), mean), (Column("95 % interval", over), interval)]


def _theirs(row: ReportedRow, measured_on: str) -> Row:
  """What the papers print of the row's net, on one data set."""
  entries = [entry for entry in facts.published(row) if entry.measured_on == measured_on]
  over = f"published, on {measured_on} (%)"
  return [
    (Column("error", over), Cell("; ".join(entry.text for entry in entries))),
    (_words("source", over), Cell("; ".join(dict.fromkeys(map(facts.source, entries))))),
  ]


def _published(group: Group) -> list[tuple[ReportedRow, paper.Published]]:
  return [(row, entry) for row in group.rows for entry in facts.published(row)]


def _caption(group: Group, budgets: Sequence[str], papers: Sequence[str]) -> str:
  data = " and ".join(facts.all_data(group.rows))
  parts = [f"{group.name or 'All rows'}, on {data or 'data not known yet'}."]
  if len(budgets) == 1:
    parts.append(f"Ours: {budgets[0]}.")
  if any("CIFAR" in name for name in papers):
    parts.append(
      f"Published: {paper.STEPS:,} steps of {paper.BATCH}, 50,000 training images; medians of "
      "5 runs in [I]."
    )
  if any(entry.data != row.data for row, entry in _published(group)):
    parts.append("Ours and the published errors are on different data: compare the order of rows.")
  compared = [facts.difference(row, group.base) for row in group.rows]
  if any(found and found.seeds == 1 for found in compared):
    parts.append(f"{ONE_SEED} One seed: the interval is over the test images alone.")
  return " ".join(parts)


def overrides(sweep: ReportedSweep, styles: Mapping[str, Style]) -> Table:
  """What makes each row, as flags of `resnet_jax.main`."""
  rows = []
  for row in sweep.rows:
    params = next((f"{run.result['params']:,}" for run in row.runs if run.result), "")
    set_by = shlex.join(flags(row.overrides))
    sets = (_words("flags"), Cell(set_by or "none", code=bool(set_by)))
    rows.append(
      [_name(row.plan.title, styles[row.name]), sets, (Column("parameters"), Cell(params))]
    )
  return Table(f"What each row sets over {sweep.base}; --config.seed sets the seed.", rows)


def timing(sweep: ReportedSweep, styles: Mapping[str, Style]) -> Table:
  """Time and memory of the runs of each row, and the code that made them."""
  caption = f"{sweep.title}. Medians over the runs that are done; timing.csv has every run."
  rows = [
    [_name(row.plan.title, styles[row.name]), *_timing(row)] for row in sweep.rows if row.done
  ]
  return Table(caption, rows)


def _timing(row: ReportedRow) -> Row:
  results = [run.result for run in row.done]
  seconds = [result["seconds"] for result in results]
  memory = facts.median([peak for run in results if (peak := run.get("peak_memory_bytes"))])
  spread = f"{min(seconds):,.0f} to {max(seconds):,.0f}" if len(seconds) > 1 else ""
  devices = (f"{run['device']['count']} x {run['device']['kind']}" for run in results)
  commits = (run.get("git_revision") or "not known" for run in results)
  short = (re.sub(r"([0-9a-f]{10})[0-9a-f]+", r"\1", commit) for commit in dict.fromkeys(commits))
  over = "training seconds a run"
  return [
    (Column("runs"), Cell(str(len(results)))),
    (Column("median", over), Cell(f"{statistics.median(seconds):,.0f}")),
    (Column("least to most", over), Cell(spread)),
    (Column("peak memory (MiB)"), Cell("" if memory is None else f"{memory / 2**20:,.0f}")),
    (_words("device"), Cell(", ".join(dict.fromkeys(devices)))),
    (_words("commit"), Cell(", ".join(short))),
  ]
