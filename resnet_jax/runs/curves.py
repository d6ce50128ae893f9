"""The picture of a run, in the tutorial's style: the test solid, the training dashed."""

import pathlib
from typing import Any

from resnet_jax.runs import whole
from resnet_jax.runs.headline import Metric


def plot(rows: list[dict[str, Any]], headline: Metric, path: pathlib.Path, title: str) -> None:
  """Draws the headline against iterations into `path`, whole or not at all."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
  axes = figure.add_subplot()
  name, shown = headline.name, list[float]()
  for split, style, width in (("train", "--", 1.0), ("test", "-", 1.8)):
    points = sorted(
      (row["step"], row[name]) for row in rows if row["split"] == split and name in row
    )
    if points:
      steps, values = zip(*points, strict=True)
      shown += values
      marker = "o" if len(points) == 1 else None  # a line through one point is invisible
      axes.plot(steps, values, style, marker=marker, color="#0b5394", linewidth=width, label=split)
  if headline.unit == "%":
    last = sorted(shown)[: max(1, len(shown) * 3 // 4)]
    axes.set_ylim(0, min(100, max(5, 1.2 * last[-1]) if last and headline.lower_is_better else 100))
  axes.set_xlim(left=0)
  if max((row["step"] for row in rows), default=0) >= 10_000:
    axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4))  # in 1e4, as the papers draw it
  axes.set(xlabel="iterations", ylabel=headline.heading())
  axes.set_title(title, fontsize=10)
  axes.grid(alpha=0.3)
  if shown:
    axes.legend(frameon=False)
  with whole.written(path) as file:
    figure.savefig(file)
