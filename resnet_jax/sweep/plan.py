"""From a sweep file to its runs, every one of them checked before the first starts.

W/sweep.json               the sweep: its name, base, settings and rows
W/<row>/seed<k>/           the runs, each a workdir of `resnet_jax.main`
W/logs/<row>-seed<k>.txt   what a run printed; .json beside it: why it failed
"""

import dataclasses
import itertools
import json
import pathlib
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_collections

from resnet_jax import config as config_lib
from resnet_jax import errors
from resnet_jax.config import files
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, workdir
from resnet_jax.sweep import rows

OURS = ("logs", "report", "measured", "sweep.json")  # in a sweep's folder, beside the rows


@dataclasses.dataclass(frozen=True)
class PlannedRow:
  """A row whose names and seeds are settled; `slug` is its folder."""

  name: str
  group: str
  slug: str
  overrides: Mapping[str, Any] = dataclasses.field(hash=False)
  seeds: tuple[int, ...]

  @property
  def title(self) -> str:
    """Its name among the rows of all groups."""
    return ", ".join(filter(None, (self.group, self.name)))


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One seed of one row."""

  row: PlannedRow
  seed: int
  workdir: pathlib.Path
  command: tuple[str, ...]  # arguments of the interpreter; runs of one command are one process
  log: pathlib.Path

  @property
  def name(self) -> str:
    """For lines that a person reads."""
    return f"{self.row.title}, seed {self.seed}"

  @property
  def failure(self) -> pathlib.Path:
    """Where it stands why the run failed."""
    return self.log.with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Plan:
  """A sweep as `sweep.json` keeps it. `settings` are overrides of all rows."""

  name: str  # the sweep file's, with its argument
  title: str
  base: str  # a config, as --config takes it
  settings: Mapping[str, Any]
  rows: tuple[PlannedRow, ...]
  strict: bool = False  # began when a row that sets what nothing reads was refused

  def runs(self, folder: pathlib.Path) -> list[PlannedRun]:
    """The runs in the order to start them: the first seed of all rows, then the second."""
    seeds = sorted({seed for row in self.rows for seed in row.seeds})
    rows = self.rows
    return [self._run(folder, row, seed) for seed in seeds for row in rows if seed in row.seeds]

  def _run(self, folder: pathlib.Path, row: PlannedRow, seed: int) -> PlannedRun:
    place = folder / row.slug / f"seed{seed}"
    log = folder / "logs" / f"{row.slug}-seed{seed}.txt"
    return PlannedRun(row, seed, place, (*self._command(row, seed), f"--workdir={place}"), log)

  def _values(self, row: PlannedRow, seed: int) -> dict[str, Any]:
    return {**self.settings, **row.overrides, "seed": seed}

  def _command(self, row: PlannedRow, seed: int) -> tuple[str, ...]:
    return ("-m", "resnet_jax.main", f"--config={self.base}", *flags(self._values(row, seed)))

  def together(self, run: PlannedRun) -> PlannedRun:
    """The run, of one command that trains all seeds of its row."""
    first, number = run.row.seeds[0], len(run.row.seeds)
    more = (f"--workdir={run.workdir.parent}", f"--seeds={number}")
    return dataclasses.replace(run, command=(*self._command(run.row, first), *more))

  def config(self, run: PlannedRun) -> ml_collections.ConfigDict:
    """The config of a run.

    Raises:
      UserError: there is no such base, or the row overrides something that it lacks.
    """
    config = config_lib.load_file(self.base)
    known = config_lib.leaves(config)
    for key, value in self._values(run.row, run.seed).items():
      if key not in known:
        raise config_lib.unknown_key(key)
      try:
        config.update_from_flattened_dict({key: value})
      except TypeError:
        raise config_lib.wrong_type(key, value) from None
    return config


def flags(overrides: Mapping[str, Any]) -> list[str]:
  """Overrides as flags of `resnet_jax.main`."""
  return [f"--config.{key}={value}" for key, value in overrides.items()]


def settings(argv: Sequence[str], base: Callable[[], str] | None) -> dict[str, Any]:
  """The settings among the arguments: --config.train.steps=100 as {"train.steps": 100}.

  If one is not known, the config that `base` names is loaded: it may register what has the setting.
  """
  given: dict[str, tuple[str, str]] = {}
  for argument in argv:
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name.startswith("config."):
      given[name.removeprefix("config.")] = equals, value
  if given.keys() - config_lib.known().keys() and base:
    config_lib.load_file(base())
  known, found = config_lib.known(), dict[str, Any]()
  for key, (equals, value) in given.items():
    if key not in known:
      raise config_lib.unknown_key(key)
    if not equals:
      raise UserError(f"--config.{key} has no value; write --config.{key}={known[key].default}")
    found[key] = config_lib.read_value(key, value)
  return found


def read(spec: str, settings: Mapping[str, Any], seeds: int | None = None) -> Plan:
  """The plan of a sweep file.

  Args:
    spec: As `--config` takes it: `path.py` or `path.py:data`.
    settings: Overrides of all rows.
    seeds: Of each row; None is what the file says.

  Raises:
    UserError: the file holds no sweep, or rows share a name, or settings and rows collide.
  """
  module, sweep = call(spec, "get_sweep")
  return settle(spec, module, sweep, settings, seeds)


def settle(
  spec: str,
  module: types.ModuleType,
  sweep: rows.Sweep,
  settings: Mapping[str, Any],
  seeds: int | None = None,
) -> Plan:
  """The plan of a sweep that the file `spec` has returned; see `read`."""
  _check_rows(spec, sweep)
  path, colon, argument = spec.partition(":")
  numbers = (sweep.seeds if row.seeds is None else row.seeds for row in sweep.rows)
  named = tuple(map(_settle, sweep.rows, numbers if seeds is None else itertools.repeat(seeds)))
  if not named:
    raise UserError(f"--config={spec!r}: the sweep has no rows")
  _refuse_twice(named)
  if "seed" in settings:
    raise UserError("--config.seed is what a sweep varies; write --seeds=3 for seeds 0, 1 and 2")
  for row in named:
    for key in row.overrides:
      if key in settings:
        raise UserError(f"--config.{key} is what the row {row.title!r} sets; leave it to the rows")
      if key == "seed":
        raise UserError(f"the row {row.title!r} overrides seed; write seeds=... instead")
  title = (module.__doc__ or "").strip().split("\n")[0]
  name = pathlib.Path(path).stem + colon + argument
  return Plan(name, title or name, sweep.base, dict(settings), named, strict=True)


def call(spec: str, function: str) -> tuple[types.ModuleType, Any]:
  """The module of a sweep or study file, and what its function returns.

  Raises:
    UserError: there is no such file, or it raises anything.
  """
  try:
    return files.call(spec, function)
  except UserError:
    raise
  except Exception as error:  # whatever a file may raise
    said = " ".join(str(error).split())
    raise UserError(f"--config={spec!r}: {type(error).__name__}: {said}") from None


def _check_rows(spec: str, sweep: Any) -> None:
  if not isinstance(sweep, rows.Sweep):
    raise UserError(f"get_sweep of --config={spec!r} returned {sweep!r}; it must return a Sweep")
  for row in sweep.rows:
    if not isinstance(row, rows.Row):
      raise UserError(f"--config={spec!r}: {row!r} is no row; join lists of rows with +")


def _settle(row: rows.Row, seeds: int) -> PlannedRow:
  if not isinstance(seeds, int) or seeds < 1:
    raise UserError(f"the row {row.name!r} has seeds={seeds!r}; write a number of 1 or more")
  slug = re.sub(r"[^a-z0-9.=-]+", "-", f"{row.group} {row.name}".lower()).strip("-.")
  if slug in ("", *OURS):
    raise UserError(f"a row cannot be called {row.name!r}: it would have no folder of its own")
  return PlannedRow(row.name, row.group, slug, dict(row.overrides), tuple(range(seeds)))


def _refuse_twice(named: tuple[PlannedRow, ...]) -> None:
  titles: dict[str, str] = {}
  for row in named:
    if row.slug in titles:
      other = titles[row.slug]
      pair = f"the rows {other!r} and {row.title!r} would share the folder {row.slug!r}"
      if other == row.title:
        pair = f"two rows are called {other!r}"
      raise UserError(f"{pair}; rename one")
    titles[row.slug] = row.title


def check(plan: Plan, folder: pathlib.Path) -> dict[PlannedRun, ml_collections.ConfigDict]:
  """The config of every run; whatever can be refused is, before any starts.

  Raises:
    UserError: a row's config cannot work, or the folder holds something else.
  """
  from resnet_jax.training import setup

  _refuse_other_sweep(plan, folder)
  configs = {}
  for run in plan.runs(folder):
    try:
      config = plan.config(run)
      if run.seed == run.row.seeds[0]:  # the others differ in nothing else
        setup.check(config)
        if workdir.begins(run.workdir):
          config_lib.refuse_unread(config)
      if (old := workdir.read_config(run.workdir, config)) is not None:
        workdir.refuse_changes(old, config, of_a_sweep=True)
    except UserError as error:
      raise UserError(f"{run.name}: {error}") from None
    configs[run] = config
  return configs


def check_groups(wanted: Iterable[str], there: Iterable[str]) -> None:
  """Raises a UserError for a wanted group of rows that is not there; rows in none have ""."""
  known = set(there) - {""}
  for group in wanted:
    if not known:
      raise UserError(f"--group={group!r}: the rows of this sweep have no groups")
    if group not in known:
      raise errors.unknown("--group", group, known)


def _refuse_other_sweep(plan: Plan, folder: pathlib.Path) -> None:
  if folder.exists() and not folder.is_dir():
    raise UserError(f"--workdir={folder} is a file; name a folder")
  if (folder / "sweep.json").exists():
    old = load(folder)
    ours, theirs = (f"{p.name!r} over {p.base}" for p in (plan, old))
    if ours != theirs:
      raise UserError(f"--workdir={folder} holds the sweep {theirs}, not {ours}; take a new one")
  elif folder.exists() and any(p.is_dir() or p.name == "config.json" for p in folder.iterdir()):
    raise UserError(
      f"--workdir={folder} is not empty and holds no sweep (no sweep.json); name a new folder"
    )


def save(plan: Plan, folder: pathlib.Path) -> None:
  """Writes `sweep.json`. More seeds of a row that it had stay, and when it began."""
  if (folder / "sweep.json").exists():
    old = load(folder)
    had = {row.title: row.seeds for row in old.rows}
    rows = tuple(
      dataclasses.replace(row, seeds=max(row.seeds, had.get(row.title, ()), key=len))
      for row in plan.rows
    )
    plan = dataclasses.replace(plan, rows=rows, strict=old.strict)
  metrics.write_json(folder / "sweep.json", dataclasses.asdict(plan))


def load(folder: pathlib.Path) -> Plan:
  """The sweep in a folder.

  Raises:
    UserError: there is none.
  """
  path = folder / "sweep.json"
  try:
    found = json.loads(path.read_text())
    rows = tuple(PlannedRow(**row | {"seeds": tuple(row["seeds"])}) for row in found["rows"])
    return Plan(**found | {"rows": rows})
  except OSError:
    raise UserError(f"--workdir={folder} holds no sweep: {path.name} is not there") from None
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f"{path} is damaged ({error}); restore it or start the sweep again") from None
