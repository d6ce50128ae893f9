"""The page of a study: what was expected, the figure, what was found, a table, the command."""

import dataclasses
import inspect
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from resnet_jax.report import figures, page
from resnet_jax.report.page import Cell, Code, Column, Section, Table, Text
from resnet_jax.report.style import Style, numbered
from resnet_jax.study.run import Measured
from resnet_jax.study.words import Panel, Study

COLUMNS = {1: 1, 2: 2, 3: 3, 4: 2}  # of panels; of more, as many as at most
WIDTHS = {1: 6.0, 2: 8.4, 3: 11.0}
TOLD: dict[str, Callable[[list[float]], float]] = {
  "first": lambda y: y[0],
  "last": lambda y: y[-1],
  "least": min,
  "most": max,
}


class Curve(NamedTuple):
  """A line of a panel: over x the median of the seeds, the least and the most."""

  x: list[float]
  median: list[float]
  least: list[float]
  most: list[float]


def build(study: Study, found: Sequence[Measured], title: str, command: str, own: bool) -> Section:
  """The page.

  Args:
    study: with its texts.
    found: of every network.
    title: of the page.
    command: that made it.
    own: whether the networks are those that the study's file names, as it names them.
  """
  of = "" if own else " with the networks that the study's file names"
  texts = [
    Section(f"What was expected{of}", _paragraphs(study.guess)),
    Section("What was measured", [*_paragraphs(study.reading), *figures_of(study, found)]),
    Section(f"What was found{of}", _paragraphs(study.found)),
    Section("Numbers", [table(study, found)]),
    Section("The command", [Code(command), Text(_made(study, found))]),
  ]
  return Section(title, [part for part in texts if part.blocks])


def csv_lines(found: Iterable[Measured]) -> list[dict[str, Any]]:
  """All that was measured, a line each."""
  return [
    {"group": m.subject.group, "row": m.subject.row, "seed": m.subject.seed} | line
    for m in found
    for line in m.lines
  ]


def _made(study: Study, found: Sequence[Measured]) -> str:
  """What the numbers are of, and what they took."""
  import jax

  data = ", ".join(sorted({m.subject.config.data.name for m in found}))
  state = "trained" if any(m.subject.folder for m in found) else "as initialized"
  seconds = sum(m.seconds for m in found)
  left = "".join(f" {m.subject.title}: {m.reason}." for m in found if m.reason)
  kind, count = jax.devices()[0].device_kind, sum(not m.reason for m in found)
  return (
    f"{count} networks, {state}, on {study.batch} images of {data}; measuring them took "
    f"{seconds:.0f} s on {kind}.{left} All values are in numbers.csv."
  )


def _paragraphs(text: str) -> list[Text]:
  parts = re.split(r"\n\s*\n", inspect.cleandoc(text))
  return [Text(" ".join(part.split())) for part in parts if part.strip()]


def curve(found: Iterable[Measured], panel: Panel, drawn: bool = True) -> Curve:
  """The line of networks that differ in their seeds, or are the points of one line; what is not
  finite, or not above 0 on a logarithmic axis, is left out if it is to be `drawn`.
  """
  values: dict[float, list[float]] = {}
  for measured in found:
    for line in measured.lines:
      if line.get(panel.x) is not None and panel.y in line:
        y = math.nan if line[panel.y] is None else line[panel.y]
        if not drawn or y > 0 or not (panel.log or math.isnan(y)):
          values.setdefault(line[panel.x], []).append(y)
  xs = sorted(values)
  return Curve(xs, *([f(values[x]) for x in xs] for f in (statistics.median, min, max)))


def _named(study: Study, found: Sequence[Measured]) -> dict[str, dict[str, list[Measured]]]:
  """The networks of every line, by the name of their axes and their own."""
  axes: dict[str, dict[str, list[Measured]]] = {}
  for measured in found:
    group, row = measured.subject.group, measured.subject.row
    place, name = ("", group) if study.by_group else (group, row)
    axes.setdefault(place, {}).setdefault(name, []).append(measured)
  return axes


def figures_of(study: Study, found: Sequence[Measured]) -> list[page.Figure]:
  """A figure for each group of rows; its panels side by side."""
  groups = _named(study, found)
  looks = numbered(dict.fromkeys(name for lines in groups.values() for name in lines))
  return [_figure(study, group, lines, looks) for group, lines in groups.items()]


def _figure(
  study: Study, group: str, lines: Mapping[str, Sequence[Measured]], looks: Mapping[str, Style]
) -> page.Figure:
  columns = COLUMNS.get(len(study.panels), max(COLUMNS.values()))
  rows = math.ceil(len(study.panels) / columns)
  with rc_context(figures.RC):
    size = WIDTHS[columns], 2.6 * rows + 0.25 * math.ceil(len(lines) / columns)
    canvas = Canvas(figsize=size, layout="constrained")
    grid = list(canvas.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(grid, study.panels, strict=False):
      _draw(axes, lines, panel, looks)
    for axes in grid[len(study.panels) :]:
      axes.remove()
    handles = [
      Line2D([], [], color=looks[name].color, marker=looks[name].marker, label=name)
      for name in lines
      if name
    ]
    if handles:
      canvas.legend(handles=handles, loc="outside upper left", ncols=columns)
    about = "; ".join(panel.label for panel in study.panels)
    caption = f"{group or study.measure.capitalize()}: {about}."
    if len({m.subject.seed for of in lines.values() for m in of}) > 1:
      caption += " Lines are medians over seeds, bands go from the least to the most."
    name = re.sub(r"[^a-z0-9]+", "-", f"{study.measure} {group}".lower()).strip("-")
    return figures.save(canvas, name, caption, f"{caption} Lines: {'; '.join(lines)}.")


def _draw(
  axes: Axes, lines: Mapping[str, Sequence[Measured]], panel: Panel, looks: Mapping[str, Style]
) -> None:
  for name, found in lines.items():
    line, look = curve(found, panel), looks[name]
    if not line.x:
      continue
    style: Any = {"linestyle": ""} if panel.points else {"markevery": max(1, len(line.x) // 6)}
    axes.plot(line.x, line.median, color=look.color, marker=look.marker, linewidth=1.2, **style)
    if line.least != line.most:
      axes.fill_between(line.x, line.least, line.most, color=look.color, alpha=0.18, lw=0)
  for wanted, scale, axis in (
    (panel.log, axes.set_yscale, axes.yaxis),
    (panel.log_x, axes.set_xscale, axes.xaxis),
  ):
    if wanted:
      scale("log")
      low, high = axis.get_view_interval()
      axis.set_major_locator(LogLocator(subs=(1, 2, 5) if 0 < high < 100 * low else (1,)))
      axis.set_major_formatter("{x:g}")
      axis.set_minor_formatter(NullFormatter())
  if panel.limits:
    axes.set_ylim(*panel.limits)
  axes.set_xlabel(panel.x_label or panel.x)
  axes.set_ylabel(panel.label)


def table(study: Study, found: Sequence[Measured]) -> Table:
  """A row a row of the study, a column a panel: the value that the panel names. Where a row is one
  point of a line, the x of the point is a column, too.
  """
  panels = {panel.y: panel for panel in study.panels if panel.told}
  if study.by_group:
    panels |= {
      panel.x: dataclasses.replace(panel, y=panel.x, label=panel.x_label or panel.x, told="last")
      for panel in study.panels
    }
  rows: dict[tuple[str, str], list[Measured]] = {}
  for measured in found:
    rows.setdefault((measured.subject.group, measured.subject.row), []).append(measured)
  lines = []
  for (group, name), of_row in rows.items():
    cells = [(Column("network", numeric=False), Cell(", ".join(filter(None, (group, name)))))]
    for panel in panels.values():
      which = "" if study.by_group else f", {panel.told}"
      cells.append((Column(f"{panel.label}{which}"), Cell(*_told(of_row, panel))))
    lines.append(cells)
  return Table("Medians over seeds, with the least and the most.", lines)


def _told(found: Sequence[Measured], panel: Panel) -> tuple[str, str]:
  """The value of a panel that a row of the table tells, and how far seeds differ in it."""
  curves = [curve([measured], panel, drawn=False) for measured in found]
  values = [TOLD[panel.told](line.median) for line in curves if line.x]
  if not values:
    return "", ""
  if not all(map(math.isfinite, values)):
    return "not finite", ""
  note = f"{min(values):.3g} to {max(values):.3g}" if len(values) > 1 else ""
  return f"{statistics.median(values):.4g}", note
