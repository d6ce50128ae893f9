"""The look of a row, the same in every figure and table of a page."""

from collections.abc import Iterable
from typing import NamedTuple

from resnet_jax.report.read import ReportedSweep

# Okabe and Ito's colours but yellow, which white paper swallows, then three of Tol's. There are
# seven markers and nine colours, so 63 rows differ, and rows of like colours do so in grey too.
COLORS = (
  *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
  *("#882255", "#332288", "#999933"),
)
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "": "—"}


class Style(NamedTuple):
  """A row without a marker is one that others are compared with."""

  color: str
  marker: str


BASE = Style("#262626", "")


def styles(sweeps: Iterable[ReportedSweep]) -> dict[str, Style]:
  """By the name of a row; dark grey for rows that are the base wherever they appear."""
  groups = [group for sweep in sweeps for group in sweep.groups]
  names = dict.fromkeys((row.name for group in groups for row in group.rows), BASE)
  compared = {row.name for group in groups for row in group.rows[1:]}
  return names | numbered(name for name in names if name in compared)


def numbered(names: Iterable[str], first: int = 0) -> dict[str, Style]:
  """Styles one after the other."""
  markers = [marker for marker in MARKERS if marker]
  return {
    name: Style(COLORS[i % len(COLORS)], markers[i % len(markers)])
    for i, name in enumerate(names, first)
  }
