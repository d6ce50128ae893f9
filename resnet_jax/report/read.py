"""The runs of sweeps, as their folders have them; several folders of one sweep are one sweep."""

import contextlib
import dataclasses
import pathlib
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics
from resnet_jax.runs.headline import Metric, of_result, tested
from resnet_jax.sweep import plan as plan_lib
from resnet_jax.sweep import status as status_lib
from resnet_jax.sweep.plan import flags


class Tested(NamedTuple):
  """The headline of each test example: of classification 100, an error, or 0."""

  values: np.ndarray
  labels: np.ndarray | None = None  # -1: it could not be read, which is an error
  classes: tuple[str, ...] | None = None  # which the labels number; older runs may lack them


@dataclasses.dataclass(frozen=True, eq=False)
class ReportedRun:
  """One seed of a row."""

  seed: int
  status: status_lib.Status
  measured: list[metrics.Measurement]  # by step, training before testing
  config: Any  # None: never started, and its base config is not here
  tested: Tested | None = None  # None until it is done

  @property
  def result(self) -> Mapping[str, Any]:
    """`result.json`, empty before the first start."""
    return self.status.result

  def last(self, split: str, key: str) -> float | None:
    """The last measurement of a split."""
    values = [row[key] for row in self.measured if row["split"] == split and key in row]
    return values[-1] if values else None


@dataclasses.dataclass(frozen=True, eq=False)
class ReportedRow:
  """A row of a sweep, and its runs by seed."""

  plan: plan_lib.PlannedRow
  overrides: dict[str, Any]  # the sweep's and the row's, over the base
  runs: tuple[ReportedRun, ...]

  @property
  def name(self) -> str:
    """As the sweep file calls it."""
    return self.plan.name

  @property
  def done(self) -> list[ReportedRun]:
    """The runs that were trained to their end; only their errors count."""
    return [run for run in self.runs if run.status.state == "done"]

  @property
  def config(self) -> Any:
    """A config of the row, whatever its seed; None where none can be known."""
    return next((run.config for run in self.runs if run.config is not None), None)

  @property
  def data(self) -> str:
    """The name of its data set; empty where none can be known."""
    return "" if self.config is None else self.config.data.name

  @property
  def headline(self) -> Metric:
    """What its runs are judged by."""
    return of_result(next((run.result for run in self.runs if run.result), None))

  @property
  def finals(self) -> list[float]:
    """The headlines of the runs that are done."""
    return [tested(run.result) for run in self.done]

  def last(self, split: str, key: str) -> list[float]:
    """The last measurement of each run that is done."""
    values = (run.last(split, key) for run in self.done)
    return [value for value in values if value is not None]


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
  """Rows that are compared with the first of them."""

  name: str
  rows: tuple[ReportedRow, ...]

  @property
  def base(self) -> ReportedRow:
    """What the others are compared with."""
    return self.rows[0]

  @property
  def runs(self) -> list[ReportedRun]:
    """Of all rows."""
    return [run for row in self.rows for run in row.runs]


@dataclasses.dataclass(frozen=True, eq=False)
class ReportedSweep:
  """A sweep with all that is known of its runs."""

  name: str
  title: str
  base: str
  groups: tuple[Group, ...]

  @property
  def rows(self) -> list[ReportedRow]:
    """Of all groups."""
    return [row for group in self.groups for row in group.rows]

  @property
  def runs(self) -> list[ReportedRun]:
    """Of all groups."""
    return [run for group in self.groups for run in group.runs]


Places = list[tuple[pathlib.Path, plan_lib.Plan]]


def read(folders: Iterable[pathlib.Path]) -> list[ReportedSweep]:
  """The sweeps in `folders`, in that order; folders of one sweep are merged.

  Raises:
    UserError: a folder holds no sweep, or two of one name disagree about a row.
  """
  places: dict[str, Places] = {}
  for folder in folders:
    plan = plan_lib.load(folder)
    places.setdefault(plan.name, []).append((folder, plan))
  return [_merge(same) for same in places.values()]


def select(sweeps: Sequence[ReportedSweep], groups: Sequence[str]) -> list[ReportedSweep]:
  """Of the sweeps, only these groups of rows; all of them where none is named.

  Raises:
    UserError: no sweep has such a group.
  """
  if not groups:
    return list(sweeps)
  plan_lib.check_groups(groups, {group.name for sweep in sweeps for group in sweep.groups})
  chosen = (
    dataclasses.replace(sweep, groups=tuple(g for g in sweep.groups if g.name in groups))
    for sweep in sweeps
  )
  return [sweep for sweep in chosen if sweep.groups]


def _merge(places: Places) -> ReportedSweep:
  """One sweep from all folders that hold some of its runs."""
  _refuse_others(places)
  rows: dict[str, plan_lib.PlannedRow] = {}
  found: dict[str, dict[int, list[ReportedRun]]] = {}
  for folder, plan in places:
    for planned in plan.runs(folder):
      rows.setdefault(planned.row.title, planned.row)
      seeds = found.setdefault(planned.row.title, {})
      seeds.setdefault(planned.seed, []).append(_read_run(planned, plan))
  plan = places[0][1]
  groups: dict[str, list[ReportedRow]] = {}
  for title, row in rows.items():
    runs = tuple(max(same, key=_progress) for _, same in sorted(found[title].items()))
    overrides = {**plan.settings, **row.overrides}
    groups.setdefault(row.group, []).append(ReportedRow(row, overrides, runs))
  named = tuple(Group(name, tuple(members)) for name, members in groups.items())
  return ReportedSweep(plan.name, plan.title, plan.base, named)


def _refuse_others(places: Places) -> None:
  (first, plan), *rest = places
  known = {row.title: row.overrides for row in plan.rows}
  for folder, other in rest:
    where = f"{first} and {folder} hold the sweep {plan.name!r}"
    if (plan.base, plan.settings) != (other.base, other.settings):
      ours, theirs = (" ".join([p.base, *flags(p.settings)]) for p in (plan, other))
      raise UserError(f"{where} over different configs: {ours} and {theirs}")
    for row in other.rows:
      if row.overrides != known.setdefault(row.title, row.overrides):
        ours, theirs = (" ".join(flags(o)) for o in (known[row.title], row.overrides))
        raise UserError(f"{where}, but their rows {row.title!r} differ: {ours} and {theirs}")


def _progress(run: ReportedRun) -> tuple[bool, bool, int, bool]:
  state = run.status.state
  return (state == "done", state == "diverged", run.status.step, state != "waiting")


def _read_run(planned: plan_lib.PlannedRun, plan: plan_lib.Plan) -> ReportedRun:
  status = status_lib.read(planned)
  # Where the folder stands, on whatever machine, is no part of what was found.
  place = r"\S*" + re.escape(f"{planned.row.slug}/seed{planned.seed}")
  status = status._replace(reason=re.sub(place, "WORKDIR", status.reason))
  config = None
  if status.result:
    config = config_lib.stored(status.result["config"])
  else:
    with contextlib.suppress(UserError):
      config = plan.config(planned)
  rows = metrics.read_rows(planned.workdir)
  rows.sort(key=lambda row: (row["step"], row["split"] == "test"))
  tested = _read_tested(planned.workdir, status.result) if status.state == "done" else None
  return ReportedRun(planned.seed, status, rows, config, tested)


def _read_tested(workdir: pathlib.Path, result: Mapping[str, Any]) -> Tested | None:
  """None where an older run kept no predictions, or a task keeps nothing of each example."""
  headline = of_result(result).name
  try:
    with np.load(workdir / "predictions.npz") as found:
      if headline in found:
        return Tested(found[headline])
      labels, predictions = found["labels"], found["predictions"]
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None
  if labels.shape != predictions.shape:
    return None
  classes = result.get("data", {}).get("classes")
  wrong = (predictions != labels) | (predictions < 0)
  return Tested(100.0 * wrong, labels, classes and tuple(classes))
