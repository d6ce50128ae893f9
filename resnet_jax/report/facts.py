"""What is known of a row, as numbers: the tables print it and the files keep it."""

import functools
import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from resnet_jax import paper
from resnet_jax.report import paired
from resnet_jax.report.read import ReportedRow, ReportedRun, Tested
from resnet_jax.runs.headline import ERROR
from resnet_jax.sweep.plan import flags


def measured_on(row: ReportedRow) -> str:
  """The data set as the papers write it, with what was held out of it where that is not its test
  set; empty where none can be known.
  """
  if row.config is None:
    return ""
  data = row.config.data
  held_out = "" if data.test_split == "test" else f" {data.test_split}"
  return paper.DATA.get(data.name, data.name) + held_out


def all_data(rows: Iterable[ReportedRow]) -> list[str]:
  """What the rows are measured on, each once."""
  return list(dict.fromkeys(filter(None, map(measured_on, rows))))


@functools.cache
def difference(row: ReportedRow, base: ReportedRow) -> paired.Difference | None:
  """Of the row's mean headline to the base row's, over the seeds whose predictions both have."""
  if row is base:
    return None
  ours, theirs = ({run.seed: run.tested for run in r.done if run.tested} for r in (row, base))
  pairs = [(tested, theirs[seed]) for seed, tested in ours.items() if seed in theirs]
  if not pairs or not all(_alike(pairs[0][0], tested) for pair in pairs for tested in pair):
    return None  # not the same test set
  values = np.array([[one.values, other.values] for one, other in pairs])
  return paired.difference(values[:, 0], values[:, 1])


def _alike(one: Tested, other: Tested) -> bool:
  """Whether two runs may have been tested on the same examples; what a run could not read has no
  label there.
  """
  named = one.classes and other.classes
  if (named and one.classes != other.classes) or one.values.shape != other.values.shape:
    return False
  if one.labels is None or other.labels is None:
    return one.labels is other.labels
  unread = (one.labels < 0) | (other.labels < 0)
  return bool(np.all(unread | (one.labels == other.labels)))


def median(values: Sequence[float]) -> float | None:
  """None where there are no values."""
  return statistics.median(values) if values else None


def failed(row: ReportedRow) -> bool:
  """Whether the paper would print "fail": a median test error over 20 % on CIFAR-10."""
  judged = row.data == "cifar10" and row.headline == ERROR
  return judged and (median(row.finals) or 0) > paper.FAIL


def published(row: ReportedRow) -> list[paper.Published]:
  """What the papers have of the row's net, on its own data set where they have it; else on one
  other.
  """
  if row.config is None or row.headline != ERROR:  # the papers' tables are of errors
    return []
  entries = paper.find(row.config.model, row.data)
  return [entry for entry in entries if entry.measured_on == entries[0].measured_on]


def budget(row: ReportedRow) -> str:
  """How long the row trains, and on what; empty before its first start."""
  run = next((run for run in row.runs if run.status.steps), None)
  if run is None:
    return ""
  steps, batch = run.status.steps or 0, run.config.data.batch_size
  data = run.result["data"]
  seen = 100 * steps * batch / (paper.STEPS * paper.BATCH)
  short = f" ({seen:.2g} % of the images that the papers' runs see)" if seen < 99.5 else ""
  return (
    f"{steps:,} steps of {batch}{short}, {data['train_examples']:,} training and "
    f"{data['test_examples']:,} test images"
  )


def trouble(row: ReportedRow) -> list[str]:
  """What is to be said of the runs that are not done, but for those that wait."""
  said = {}
  for run in row.runs:
    at = f"{run.status.step:,}" + (f" of {run.status.steps:,}" if run.status.steps else "")
    said[run.seed] = {
      "running": f"running, at step {at}",
      "stopped": f"stopped at step {at}",
      "diverged": f"diverged at step {run.result.get('diverged_at', run.status.step):,}",
      "failed": f"failed at step {at}: {run.status.reason}",
    }.get(run.status.state, "")
  return [f"seed {seed} {text}" for seed, text in said.items() if text]


def number_line(row: ReportedRow, run: ReportedRun) -> dict[str, Any]:
  """A run as a line of numbers.csv; nothing in it differs between equal runs."""
  data, headline = run.result.get("data", {}), row.headline
  tests = [found[headline.name] for found in run.measured if found["split"] == "test"]
  return {
    "status": run.status.state,
    "step": run.status.step,
    "steps": run.status.steps,
    "data": row.data,
    **{key: data.get(key) for key in ("train_examples", "test_examples")},
    "batch_size": None if run.config is None else run.config.data.batch_size,
    "params": run.result.get("params"),
    f"test_{headline.name}": run.last("test", headline.name),
    "test_loss": run.last("test", "loss"),
    f"train_{headline.name}": run.last("train", headline.name),
    "train_loss": run.last("train", "loss"),
    f"best_test_{headline.name}": headline.best(tests),
    "reason": run.status.reason,
  }


def row_line(row: ReportedRow, base: ReportedRow) -> dict[str, Any]:
  """A row as a line of rows.csv."""
  name, entry = row.headline.name, next(iter(published(row)), None)
  states = [run.status.state for run in row.runs]
  return {
    "base_row": base.name,
    "overrides": shlex.join(flags(row.overrides)),
    "data": row.data,
    "budget": budget(row),
    "runs": len(row.runs),
    **{state: states.count(state) for state in ("done", "diverged", "failed")},
    **_named(f"test_{name}", paired.summarize(row.finals), ("median", "mean", "deviation")),
    "fail": failed(row),
    **{f"train_{key}_median": median(row.last("train", key)) for key in (name, "loss")},
    **_named("difference", difference(row, base), ("mean", "low", "high", "seeds")),
    "published": entry and ("fail" if entry.fail else entry.error),
    "published_on": entry and entry.measured_on,
    "published_in": entry and source(entry),
    "published_remark": entry and entry.remark,
  }


def timing_line(run: ReportedRun) -> dict[str, Any]:
  """A run as a line of timing.csv: all that may differ between equal runs."""
  result = run.result
  device = result.get("device", {})
  return {
    "seconds": result.get("seconds"),
    "peak_memory_bytes": result.get("peak_memory_bytes"),
    **{f"device_{key}": device.get(key) for key in ("platform", "kind", "count")},
    "git_revision": result.get("git_revision"),
    **{f"version_{key}": value for key, value in sorted(result.get("versions", {}).items())},
  }


def source(entry: paper.Published) -> str:
  """Where a number stands."""
  return " ".join(filter(None, (entry.source, entry.letter)))


def _named(prefix: str, values: Any, keys: Sequence[str]) -> dict[str, Any]:
  return {f"{prefix}_{key}": values and getattr(values, key) for key in keys}
