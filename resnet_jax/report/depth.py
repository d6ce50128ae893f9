"""The final error against depth, a line for each mapping ([R] figure 6, [I] table 3)."""

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from resnet_jax import paper
from resnet_jax.config.settings import having
from resnet_jax.report import figures, page
from resnet_jax.report.facts import all_data
from resnet_jax.report.read import Group, ReportedRow, ReportedSweep
from resnet_jax.report.style import BASE, Style, numbered

# What may differ between the nets of one line.
_DEPTH = tuple(key.removeprefix("model.") for key in having("depth"))
Line = dict[int, list[float]]  # the final errors of all seeds, by depth


def figure(sweep: ReportedSweep, name: str, styles: dict[str, Style]) -> page.Figure | None:
  """None where no mapping has results at several depths."""
  lines = _lines(sweep)
  if not lines:
    return None
  data = " and ".join(all_data(sweep.rows))
  own = numbered((label for label in lines if label not in styles), first=len(styles))
  depths = sorted({depth for line in lines.values() for depth in line})
  with rc_context(figures.RC):
    canvas = Canvas(figsize=(7.5, 4), layout="constrained")
    axes = canvas.add_subplot()
    metric = sweep.rows[0].headline
    limit = _limit(lines) if figures.is_error(metric) else None
    for label, line in lines.items():
      _draw(axes, label, line, (styles | own)[label], limit)
    axes.set_xscale("log")
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.minorticks_off()
    if limit is not None:
      axes.set_ylim(0, limit)
    axes.set_xlabel("layers")
    axes.set_ylabel(f"test {metric.heading(data)}")
    axes.margins(x=0.08)
    canvas.legend(loc="outside upper left", ncols=4)
    caption = (
      f"Final test {metric.title} on {data} against depth: medians over seeds, bars from the least "
      "to the most."
    )
    if limit is not None:
      caption += f" Arrows stand for medians above {limit:g} %."
    alt = f"Final test {metric.title} on {data} against depth; lines: {'; '.join(lines)}."
    return figures.save(canvas, name, caption, alt)


def _lines(sweep: ReportedSweep) -> dict[str, Line]:
  """By label, the mappings that were trained at several depths."""
  found: dict[Any, list[tuple[Group, ReportedRow]]] = {}
  for group in sweep.groups:
    for row in group.rows:
      if row.config is not None and row.done:
        found.setdefault(_mapping(row), []).append((group, row))
  lines: dict[str, Line] = {}
  for mapping, members in found.items():
    line: Line = {}
    for _, row in members:
      line.setdefault(row.config.model.depth, []).extend(row.finals)
    if len(line) > 1:
      lines[_label(dict(mapping), members)] = dict(sorted(line.items()))
  return lines


def _mapping(row: ReportedRow) -> tuple[tuple[str, Any], ...]:
  """All that makes the row, but its depth and what goes with it."""
  net = {key: value for key, value in paper.net(row.config.model).items() if key not in _DEPTH}
  others = {
    key: value
    for key, value in row.overrides.items()
    if not key.startswith("model.") or key.removeprefix("model.") not in (*net, *_DEPTH)
  }
  single = row.config.model.unit == "single"
  return tuple(sorted((net | others | ({"unit": "single"} if single else {})).items()))


def _label(mapping: dict[str, Any], members: Sequence[tuple[Group, ReportedRow]]) -> str:
  """The name that all rows of the line or all their groups have, or else its settings."""
  for names in ({row.name for _, row in members}, {group.name for group, _ in members}):
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


def _draw(axes: Axes, label: str, line: Line, style: Style, limit: float | None) -> None:
  depths = list(line)
  medians = [statistics.median(errors) for errors in line.values()]
  below = [m - min(errors) for m, errors in zip(medians, line.values(), strict=True)]
  above = [max(errors) - m for m, errors in zip(medians, line.values(), strict=True)]
  marker = style.marker or ("o" if style == BASE else "")
  axes.errorbar(
    depths, medians, (below, above), marker=marker, color=style.color, capsize=3, label=label
  )
  for depth, median in zip(depths, medians, strict=True):
    if limit is not None and median > limit:
      at: dict[str, Any] = {"xy": (depth, limit), "xytext": (depth, limit * 0.93), "ha": "center"}
      arrow = {"arrowstyle": "->", "color": style.color}
      axes.annotate(f"{median:.1f}", color=style.color, arrowprops=arrow, **at)
