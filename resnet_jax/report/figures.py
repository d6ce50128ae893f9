"""Figures in the tutorial's style: error against iterations, training dashed, test solid."""

import io
import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from resnet_jax.report import page
from resnet_jax.report.curves import curve, points
from resnet_jax.report.facts import median
from resnet_jax.report.read import Group, ReportedRow
from resnet_jax.report.style import BASE, Style
from resnet_jax.runs.headline import Metric, named

COLUMNS = 3
GREY = "#595959"
_LINES: dict[str, Any] = {"test": "-", "train": "--"}
CROSS: Any = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "linestyle": ""}
Styles = dict[str, Style]
RC: Any = {
  "svg.hashsalt": "resnet_jax",  # the same bytes from the same runs
  "svg.fonttype": "path",
  "text.parse_math": False,  # a row may be called anything
  "font.family": "DejaVu Sans",  # matplotlib's own, on every machine
  "font.size": 8.5,
  "axes.titlesize": 9,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.linewidth": 0.7,
  "axes.grid": True,
  "grid.color": "#e3e3e3",
  "grid.linewidth": 0.6,
  "xtick.major.width": 0.7,
  "ytick.major.width": 0.7,
  "legend.frameon": False,
  "legend.fontsize": 8,
  "lines.markersize": 4,
}


def save(canvas: Canvas, name: str, caption: str, alt: str) -> page.Figure:
  """The figure as SVG and PNG, without dates."""
  files = {}
  for kind, metadata in (("svg", {"Date": None, "Title": alt}), ("png", {})):
    file = io.BytesIO()
    canvas.savefig(file, format=kind, dpi=200, metadata=metadata)
    files[kind] = file.getvalue()
  return page.Figure(name, caption, alt, **files)


def is_error(metric: Metric) -> bool:
  """Whether it goes from 100 % down, and its axis may leave out what does not train."""
  return metric.unit == "%" and metric.lower_is_better


def headlines(group: Group, name: str, styles: Styles) -> page.Figure:
  """Each row beside the base row, a panel each."""
  metric = group.base.headline
  limit = scale(group) if is_error(metric) else math.inf

  def scaled(axes: Axes, row: ReportedRow) -> None:
    axes.set_ylabel(metric.heading())
    beyond = _beyond(row, limit)
    if limit < math.inf:
      axes.set_ylim(0, 100 if beyond else limit)
    if beyond and limit < 100:
      axes.text(0.01, 0.02, "axis to 100 %", transform=axes.transAxes, color=GREY, va="bottom")
      axes.set_facecolor("#f6f6f6")

  title = metric.title[:1].upper() + metric.title[1:]
  caption = (
    f"{title} against iterations{_of(group)}: test solid, training dashed (its "
    "mean since the test before). Lines are medians over seeds, bands go from the least to the "
    "most."
  )
  if limit < 100:
    ends_there = any(_beyond(row, limit) for row in group.rows[1:])
    where = ", but in the grey panels of rows that end there" if ends_there else ""
    caption += f" What is above {limit:g} % is cut{where}."
  return _panels(group, name, styles, ("test", "train"), metric.name, scaled, caption)


def losses(group: Group, name: str, styles: Styles) -> page.Figure:
  """Training losses on a logarithmic scale; panels as in `headlines`."""
  values = [y for run in group.runs for _, y in points(run, "train", "loss") if y > 0]
  low, high = (max(min(values), 1e-5), min(max(values), 10)) if values else (0.1, 10)

  def scaled(axes: Axes, row: ReportedRow) -> None:
    del row
    axes.set_yscale("log")
    axes.set_ylim(low / 1.3, high * 1.3)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("training loss")

  caption = (
    f"Training loss against iterations{_of(group)}, logarithmic; lines and bands as above. "
    "A line above the base row's is a net that is harder to train."
  )
  return _panels(group, name, styles, ("train",), "loss", scaled, caption)


def _beyond(row: ReportedRow, limit: float) -> bool:
  """Whether little or nothing of the row's end would be seen."""
  return (last_headline(row) or 0) > 0.8 * limit


def _of(group: Group) -> str:
  return f", {group.name}" if group.name else ""


def _panels(group, name, styles, splits, key, scaled, caption) -> page.Figure:
  rows = group.rows[1:] or group.rows
  columns = 2 if len(rows) in (2, 4) else min(COLUMNS, len(rows))
  width, entries = {1: (6, 2), 2: (8.4, 3), 3: (11, 5)}[columns]
  lines = math.ceil(len(rows) / columns)
  with rc_context(RC):
    canvas = Canvas(figsize=(width, 2.55 * lines + 0.5), layout="constrained")
    grid = canvas.subplots(lines, columns, squeeze=False, sharex=True).flat
    last = max(run.status.steps or run.status.step for run in group.runs)
    for axes, row in itertools.zip_longest(grid, rows):
      if row is None:
        axes.remove()
        continue
      scaled(axes, row)
      for drawn in dict.fromkeys((group.base, row)):
        _draw(axes, drawn, styles[drawn.name], splits, key)
      axes.set_xlim(0, last or 1)
      if last >= 10_000:
        axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4))
      axes.tick_params(labelbottom=True)
      _title(axes, row, styles[row.name], splits[0], key)
    canvas.supxlabel("iterations", fontsize=8.5)
    _explain(canvas, group, splits, entries)
    what = "Test and training" if "test" in splits else "Training"
    title = named(key, [group.base.headline]).title
    alt = (
      f"{what} {title} against iterations{_of(group)}; one panel each: "
      f"{'; '.join(row.name for row in rows)}; base row: {group.base.name}."
    )
    return save(canvas, name, caption, alt)


def _draw(axes: Axes, row: ReportedRow, style: Style, splits: Sequence[str], key: str) -> None:
  """The median over the runs that did not diverge, and each that did up to its cross."""
  above = style != BASE
  sound = [run for run in row.runs if run.status.state != "diverged"]
  for split in splits:
    look: dict[str, Any] = {"color": style.color, "linewidth": 1.0 if split == "train" else 1.5}
    look |= {"linestyle": _LINES[split], "zorder": 3 + above}
    steps, medians, low, high = curve(sound, split, key)
    if steps:
      marker = style.marker or ("." if len(steps) == 1 else "")
      axes.plot(steps, medians, marker=marker, markevery=max(1, len(steps) // 6), **look)
    if low != high:
      axes.fill_between(steps, low, high, color=style.color, alpha=0.18, lw=0)
    for run in row.runs:
      if run.status.state == "diverged" and (seen := points(run, split, key)):
        axes.plot(*zip(*seen, strict=True), **look | {"linewidth": 0.7})
        step, value = seen[-1]
        top = axes.get_ylim()[1]
        axes.plot(step, min(value, top), color=style.color, clip_on=False, zorder=5, **CROSS)


def _title(axes: Axes, row: ReportedRow, style: Style, split: str, key: str) -> None:
  """The row's name beside its line, and its last error: dark text, whatever the colour."""
  line = Line2D([], [], color=style.color, marker=style.marker, linestyle=_LINES[split])
  above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
  above |= {"borderpad": 0.3, "handlelength": 2.4, "prop": {"weight": "bold", "size": 8.5}}
  axes.legend([line], [textwrap.fill(row.name, 40)], **above)
  if key == row.headline.name and (value := last_headline(row)) is not None:
    axes.set_title(row.headline.text(value), loc="right")


def _explain(canvas: Canvas, group: Group, splits: Sequence[str], entries: int) -> None:
  """A legend of what the panels have in common, with so many entries a line."""
  base = f"{textwrap.shorten(group.base.name, 40)}, in every panel"
  if "test" in splits and (value := last_headline(group.base)) is not None:
    base += f": {group.base.headline.text(value)}"
  handles: list[Line2D | Patch] = [
    Line2D([], [], color=BASE.color, linewidth=1.5, linestyle=_LINES[splits[0]], label=base)
  ]
  if len(splits) > 1:
    handles += [
      Line2D([], [], color=GREY, linestyle=_LINES[split], label=label)
      for split, label in (("test", "test, with its median at the end"), ("train", "training"))
    ]
  if max(len(row.runs) for row in group.rows) > 1:
    handles.append(Patch(color=GREY, alpha=0.25, lw=0, label="least to most of the seeds"))
  if any(run.status.state == "diverged" for run in group.runs):
    handles.append(Line2D([], [], color=GREY, label="diverged", **CROSS))
  canvas.legend(handles=handles, loc="outside upper left", ncols=entries)


def last_headline(row: ReportedRow) -> float | None:
  """The median headline of the runs that are done; while none is, of those under way."""
  name, sound = row.headline.name, (run for run in row.runs if run.status.state != "diverged")
  lasts = (run.last("test", name) for run in sound)
  return median(row.finals or [value for value in lasts if value is not None])


def scale(group: Group) -> float:
  """Where the axis of errors ends: above the rows that train, whatever the others do, and high
  enough to show the way there.
  """
  lasts = [value for row in group.rows if (value := last_headline(row)) is not None]
  if not lasts:
    return 100
  trains = max(10, 3 * lasts[0])
  top = 1.6 * max((value for value in lasts if value <= trains), default=trains)
  return min(100, max(10, math.ceil(top / 5) * 5))
