"""The picture of a run, in the tutorial's style: test error solid, training error dashed."""

import pathlib
from typing import Any


def plot(rows: list[dict[str, Any]], path: pathlib.Path, title: str) -> None:
  """Draws errors in percent against iterations into `path`, whole or not at all."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
  axes = figure.add_subplot()
  errors = []
  for split, style, width in (("train", "--", 1.0), ("test", "-", 1.8)):
    points = sorted((row["step"], row["error"]) for row in rows if row["split"] == split)
    if points:
      errors += [error for _, error in points]
      marker = "o" if len(points) == 1 else None  # a line through one point is invisible
      steps, values = zip(*points, strict=True)
      axes.plot(steps, values, style, marker=marker, color="#0b5394", linewidth=width, label=split)
  last = sorted(errors)[: max(1, len(errors) * 3 // 4)]
  axes.set_ylim(0, min(100, max(5, 1.2 * last[-1]) if last else 100))
  axes.set_xlim(left=0)
  if max((row["step"] for row in rows), default=0) >= 10_000:
    axes.ticklabel_format(axis="x", style="sci", scilimits=(4, 4))  # in 1e4, as the papers draw it
  axes.set_xlabel("iterations")
  axes.set_ylabel("error (%)")
  axes.set_title(title, fontsize=10)
  axes.grid(alpha=0.3)
  if errors:
    axes.legend(frameon=False)
  partial = path.with_name(f".partial-{path.name}")
  figure.savefig(partial)
  partial.replace(path)
