"""The tables of a page."""

import re
import shlex
from collections.abc import Mapping, Sequence

from resnet_jax import paper
from resnet_jax.report import facts, paired
from resnet_jax.report.page import Cell, Column, Table
from resnet_jax.report.read import Group, ReportedRow, ReportedSweep, flags
from resnet_jax.report.style import Style

ONE_SEED = "†"


def results(group: Group, styles: Mapping[str, Style]) -> Table:
  """Our errors, the differences to the base row, and what the papers print of the same nets.

  Every error stands under the name of the data set that it was measured on.
  """
  ours = facts.all_data(group.rows)
  on = ours[0] if len(ours) == 1 else "each row's own data"
  budgets = list(dict.fromkeys(filter(None, map(facts.budget, group.rows))))
  theirs = _published(group)
  metric = group.base.headline
  error = f"test {metric.heading(on)}"
  columns = [
    Column("row", numeric=False),
    Column("data", numeric=False),
    Column("budget", numeric=False),
    Column("median", error),
    Column("mean ± deviation", error),
    Column("seeds", error),
    Column(metric.heading(), "training, at the end"),
    Column("loss", "training, at the end"),
    Column("points" if metric.unit == "%" else metric.title, f"difference to {group.base.name}"),
    Column("95 % interval", f"difference to {group.base.name}"),
  ]
  for measured_on in theirs:
    over = f"published, on {measured_on} (%)"
    columns += [Column("error", over), Column("source", over, numeric=False)]
  rows = []
  for row in group.rows:
    data = Cell(facts.measured_on(row) if len(ours) > 1 else "")
    budget = Cell(facts.budget(row) if len(budgets) > 1 else "")
    name = _name(row.name, styles[row.name], "; ".join(facts.trouble(row)))
    cells = [name, data, budget, *_ours(row)]
    cells += _difference(row, group.base)
    for entries in theirs.values():
      cells += entries.get(row.name, (Cell(""), Cell("")))
    rows.append(cells)
  return Table(_caption(group, budgets, list(theirs)), columns, rows)


def _name(name: str, style: Style, note: str = "") -> Cell:
  return Cell(name, note, style.color, style.glyph)


def _ours(row: ReportedRow) -> list[Cell]:
  """Median, mean and deviation, seeds, and the training error and loss at the end."""
  seeds = Cell(f"{len(row.done)} of {len(row.runs)}")
  metric, summary = row.headline, paired.summarize(row.finals)
  number = f".{metric.digits}f"
  if summary is None:
    states = {run.status.state for run in row.runs}
    word = "diverged" if states == {"diverged"} else "–"
    return [Cell(word), Cell(""), seeds, Cell(""), Cell("")]
  spread = "" if summary.deviation is None else f" ± {summary.deviation:{number}}"
  median = Cell(f"{summary.median:{number}}", strong=True)
  if facts.failed(row):
    median = Cell("fail", f"{summary.median:{number}}", strong=True)
  train, loss = (paired.summarize(row.last("train", key)) for key in (metric.name, "loss"))
  return [
    median,
    Cell(f"{summary.mean:{number}}{spread}"),
    seeds,
    Cell(f"{train.median:{number}}" if train else ""),
    Cell(f"{loss.median:#.3g}" if loss else ""),
  ]


def _difference(row: ReportedRow, base: ReportedRow) -> tuple[Cell, Cell]:
  found = facts.difference(row, base)
  if found is None:
    return Cell("base" if row is base else ""), Cell("")
  few = min(len(row.runs), len(base.runs))
  mark = f" {ONE_SEED}" if found.seeds == 1 else ""
  note = f"{found.seeds} seeds" if 1 < found.seeds < few else ""
  digits = row.headline.digits
  sure = round(found.low, digits) > 0 or round(found.high, digits) < 0  # as printed
  mean, low, high = (_signed(value, digits) for value in (found.mean, found.low, found.high))
  return Cell(mean, strong=sure), Cell(f"{low} to {high}{mark}", note)


def _signed(value: float, digits: int) -> str:
  return f"{value:+.{digits}f}".replace("-", "−")


def _published(group: Group) -> dict[str, dict[str, tuple[Cell, Cell]]]:
  """The papers' numbers by what they were measured on, then by row."""
  found: dict[str, dict[str, tuple[Cell, Cell]]] = {}
  for row in group.rows:
    if entries := facts.published(row):
      on = entries[0].measured_on
      same = [entry for entry in entries if entry.measured_on == on]
      text = "; ".join(entry.text for entry in same)
      sources = "; ".join(dict.fromkeys(facts.source(entry) for entry in same))
      found.setdefault(on, {})[row.name] = Cell(text), Cell(sources)
  return found


def _caption(group: Group, budgets: Sequence[str], published_on: Sequence[str]) -> str:
  data = " and ".join(facts.all_data(group.rows))
  parts = [f"{group.name or 'All rows'}, on {data or 'data not known yet'}."]
  if len(budgets) == 1:
    parts.append(f"Ours: {budgets[0]}.")
  if any("CIFAR" in name for name in published_on):
    parts.append(
      f"Published: {paper.STEPS:,} steps of {paper.BATCH}, 50,000 training images; medians of "
      "5 runs in [I]."
    )
  shown = [(row, entries[0]) for row in group.rows if (entries := facts.published(row))]
  if any(entry.data != row.data for row, entry in shown):
    parts.append("Ours and the published errors are on different data: compare the order of rows.")
  compared = [facts.difference(row, group.base) for row in group.rows]
  if any(found and found.seeds == 1 for found in compared):
    parts.append(f"{ONE_SEED} One seed: the interval is over the test images alone.")
  return " ".join(parts)


def overrides(sweep: ReportedSweep, styles: Mapping[str, Style]) -> Table:
  """What makes each row, as flags of `resnet_jax.main`."""
  columns = [
    Column("row", numeric=False),
    Column("flags", numeric=False),
    Column("parameters"),
  ]
  rows = []
  for row in sweep.rows:
    params = next((run.result["params"] for run in row.runs if run.result), None)
    rows.append(
      [
        _name(row.plan.title, styles[row.name]),
        Cell(shlex.join(flags(row.overrides)) or "none", code=bool(row.overrides)),
        Cell("" if params is None else f"{params:,}"),
      ]
    )
  base = sweep.rows[0].base
  return Table(f"What each row sets over {base}; --config.seed sets the seed.", columns, rows)


def timing(sweep: ReportedSweep, styles: Mapping[str, Style]) -> Table:
  """Time and memory of the runs of each row, and the code that made them."""
  columns = [
    Column("row", numeric=False),
    Column("runs"),
    Column("median", "training seconds a run"),
    Column("least to most", "training seconds a run"),
    Column("peak memory (MiB)"),
    Column("device", numeric=False),
    Column("commit", numeric=False),
  ]
  rows = [
    [_name(row.plan.title, styles[row.name]), *_timing(row)] for row in sweep.rows if row.done
  ]
  caption = f"{sweep.title}. Medians over the runs that are done; timing.csv has every run."
  return Table(caption, columns, rows)


def _timing(row: ReportedRow) -> list[Cell]:
  seconds = paired.summarize(row.values("seconds"))
  memory = paired.summarize(
    [peak for run in row.done if (peak := run.result.get("peak_memory_bytes"))]
  )
  assert seconds
  spread = f"{seconds.least:,.0f} to {seconds.most:,.0f}" if seconds.number > 1 else ""
  kinds = [run.result["device"] for run in row.done]
  devices = dict.fromkeys(f"{kind['count']} x {kind['kind']}" for kind in kinds)
  commits = dict.fromkeys(run.result.get("git_revision") or "not known" for run in row.done)
  return [
    Cell(str(seconds.number)),
    Cell(f"{seconds.median:,.0f}"),
    Cell(spread),
    Cell(f"{memory.median / 2**20:,.0f}" if memory else ""),
    Cell(", ".join(devices)),
    Cell(", ".join(re.sub(r"([0-9a-f]{10})[0-9a-f]+", r"\1", commit) for commit in commits)),
  ]
