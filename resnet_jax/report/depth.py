"""The final error against depth, a line for each mapping ([R] figure 6, [I] table 3)."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from resnet_jax import paper
from resnet_jax.config.settings import having
from resnet_jax.report import figures, page
from resnet_jax.report.facts import all_data
from resnet_jax.report.read import ReportedRow, ReportedSweep
from resnet_jax.report.style import BASE, Style, numbered

# What may differ between the nets of one line.
_DEPTH = tuple(key.removeprefix("model.") for key in having("depth"))
Line = dict[int, list[float]]  # the final errors of all seeds, by depth


def figure(sweep: ReportedSweep, name: str, styles: figures.Styles) -> page.Figure | None:
  """None where no mapping has results at several depths."""
  lines = _lines(sweep)
  if not lines:
    return None
  data = " and ".join(all_data(sweep.rows))
  own = numbered((label for label in lines if label not in styles), first=len(styles))
  depths = sorted({depth for line in lines.values() for depth in line})
  metric = sweep.rows[0].headline
  limit = _limit(lines) if figures.is_error(metric) else math.inf
  with rc_context(figures.RC):
    canvas = Canvas(figsize=(7.5, 4), layout="constrained")
    axes = canvas.add_subplot()
    for label, line in lines.items():
      _draw(axes, label, line, (styles | own)[label], limit)
    axes.set_xscale("log")
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.set_xlabel("layers")
    axes.set_ylabel(f"test {metric.heading(data)}")
    axes.margins(x=0.08)
    canvas.legend(loc="outside upper left", ncols=4)
    about = f"Final test {metric.title} on {data} against depth"
    caption = f"{about}: medians over seeds, bars from the least to the most."
    if limit < math.inf:
      axes.set_ylim(0, limit)
      caption += f" Arrows stand for medians above {limit:g} %."
    return figures.save(canvas, name, caption, f"{about}; lines: {'; '.join(lines)}.")


def _lines(sweep: ReportedSweep) -> dict[str, Line]:
  """By label, the mappings that were trained at several depths."""
  mappings: dict[Any, list[ReportedRow]] = {}
  for row in sweep.rows:
    if row.done:
      mappings.setdefault(_mapping(row), []).append(row)
  lines: dict[str, Line] = {}
  for mapping, rows in mappings.items():
    line: Line = {}
    for row in sorted(rows, key=lambda row: row.config.model.depth):
      line.setdefault(row.config.model.depth, []).extend(row.finals)
    if len(line) > 1:
      lines[_label(dict(mapping), rows)] = line
  return lines


def _mapping(row: ReportedRow) -> tuple[tuple[str, Any], ...]:
  """All that makes the row, but its depth and what goes with it."""
  net = {key: value for key, value in paper.net(row.config.model).items() if key not in _DEPTH}
  said = {f"model.{key}" for key in (*net, *_DEPTH)}
  others = {key: value for key, value in row.overrides.items() if key not in said}
  single = {"unit": "single"} if row.config.model.unit == "single" else {}
  return tuple(sorted((net | others | single).items()))


def _label(mapping: dict[str, Any], rows: Sequence[ReportedRow]) -> str:
  """The name that all rows of the line or all their groups have, or else its settings."""
  for names in ({row.name for row in rows}, {row.plan.group for row in rows}):
    if len(names) == 1 and (name := names.pop()):
      return name
  if mapping["shortcut"] == "none":
    return "plain"
  del mapping["family"]
  defaults = {"shortcut": "identity", "after_add": "original"}
  said = [str(v) for k, v in mapping.items() if k in defaults and v != defaults[k]]
  said += [f"{key}={value}" for key, value in mapping.items() if key not in defaults]
  return ", ".join(said) or "original"


def _limit(lines: dict[str, Line]) -> float:
  """As `figures.scale`: above what trains, whatever the others do."""
  medians = [statistics.median(errors) for line in lines.values() for errors in line.values()]
  trains = max(10, 4 * min(medians))
  top = 1.25 * max(value for value in medians if value <= trains)
  return min(100, max(1.0, round(top + 0.5)))


def _draw(axes: Axes, label: str, line: Line, style: Style, limit: float) -> None:
  depths, errors = list(line), list(line.values())
  medians = list(map(statistics.median, errors))
  least, most = list(map(min, errors)), list(map(max, errors))
  bars = np.subtract(medians, least), np.subtract(most, medians)
  marker = style.marker or ("o" if style == BASE else "")
  axes.errorbar(depths, medians, bars, marker=marker, color=style.color, capsize=3, label=label)
  for depth, median in zip(depths, medians, strict=True):
    if median > limit:
      at: dict[str, Any] = {"xy": (depth, limit), "xytext": (depth, limit * 0.93), "ha": "center"}
      arrow = {"arrowstyle": "->", "color": style.color}
      axes.annotate(f"{median:.1f}", color=style.color, arrowprops=arrow, **at)
