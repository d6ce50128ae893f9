"""Many runs of a row as one curve."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from resnet_jax.report.read import ReportedRun


class Curve(NamedTuple):
  """Over seeds, at each step that some of them have reached."""

  steps: list[int]
  median: list[float]
  low: list[float]
  high: list[float]


def points(run: ReportedRun, split: str, key: str) -> list[tuple[int, float]]:
  """(step, value) of a run. What was measured in training is averaged from one test to the next:
  a row of few batches says little, and the curve would hide the others. What comes after the last
  test waits for the next, as at its step there would be no other seed.
  """
  if split != "train":
    rows = [row for row in run.measured if row["split"] == split and key in row]
    return [(row["step"], row[key]) for row in rows]
  found: list[tuple[int, float]] = []
  since: list[float] = []
  for row in run.measured:
    if row["split"] == "train" and key in row:
      since.append(row[key])
    untested = row is run.measured[-1] and not found
    if since and (row["split"] == "test" or untested):
      found.append((row["step"], statistics.fmean(since)))
      since = []
  return found


def curve(runs: Iterable[ReportedRun], split: str, key: str) -> Curve:
  """The median, the least and the most of the runs."""
  values: dict[int, list[float]] = {}
  for run in runs:
    for step, value in points(run, split, key):
      values.setdefault(step, []).append(value)
  steps = sorted(values)
  functions = (statistics.median, min, max)
  return Curve(steps, *([function(values[step]) for step in steps] for function in functions))
