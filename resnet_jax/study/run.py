"""From a study to its measurements: one network after the other, none of them twice.

WORKDIR/sweep.json, WORKDIR/<row>/seed<k>/   the networks, and their runs if the study trains them
WORKDIR/measured/<row>-seed<k>.json          what was measured of one
"""

import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError
from resnet_jax.report import folders
from resnet_jax.runs import metrics, workdir
from resnet_jax.runs.progress import Progress, clock
from resnet_jax.study.words import STUDIES, Study
from resnet_jax.sweep import plan as plan_lib
from resnet_jax.sweep import status

Line = dict[str, Any]  # a row of a study's table: its columns by name


class Subject(NamedTuple):
  """A network that is to be measured.

  Attributes:
    group: of its row.
    row: the name of its row.
    seed: of its weights.
    slug: of its file.
    config: of the run.
    folder: of the run, if it has been trained.
  """

  group: str
  row: str
  seed: int
  slug: str
  config: Any
  folder: pathlib.Path | None

  @property
  def title(self) -> str:
    """For lines that a person reads."""
    return ", ".join(filter(None, (self.group, self.row, f"seed {self.seed}")))


class Measured(NamedTuple):
  """What was measured of a network; `reason` tells why nothing was."""

  subject: Subject
  lines: Sequence[Line]
  seconds: float = 0.0
  reason: str = ""


def of_plan(runs: Mapping[plan_lib.PlannedRun, Any], trained: bool) -> list[Subject]:
  """The networks of planned runs, whose configs are given; those of a group stand together."""
  found = []
  for run, config in runs.items():
    name, folder = f"{run.row.slug}-seed{run.seed}", run.workdir if trained else None
    found.append(Subject(run.row.group, run.row.name, run.seed, name, config, folder))
  return found


def of_folders(named: Sequence[pathlib.Path]) -> list[Subject]:
  """The networks that runs have trained; a folder is a run's, or that of a sweep or above several.

  Raises:
    UserError: a folder holds neither, or nothing that is trained.
  """
  found = []
  for folder in named:
    if (folder / folders.RUN).is_file():
      config = workdir.read_config(folder)
      slug = "-".join(folder.resolve().parts[-2:])
      found.append(Subject("", folder.name, config.seed, slug, config, folder))
      continue
    for sweep in folders.find([str(folder)]):
      runs = plan_lib.load(sweep).runs(sweep)
      done = {run: workdir.read_config(run.workdir) for run in runs if status.read(run).step}
      found += of_plan(done, trained=True)
  if not found:
    raise UserError(f"--run={named[0]} holds no run that has begun")
  return found


def measure_all(
  study: Study, subjects: Sequence[Subject], folder: pathlib.Path, progress: Progress
) -> list[Measured]:
  """What is measured of the subjects; what `folder` has of an earlier start is taken from there.

  Raises:
    UserError: a network is none that the study can measure, or what is there was measured of other
      settings.
  """
  names = [subject.slug for subject in subjects]
  if twice := {name for name in names if names.count(name) > 1}:
    raise UserError(f"two networks are called {min(twice)!r}; rename a folder")
  kept = [_kept(study, subject, folder) for subject in subjects]
  found = []
  for number, (subject, measured) in enumerate(zip(subjects, kept, strict=True)):
    if measured is None:
      progress.phase(f"measuring {subject.title}")
      measured = _measure(study, subject, folder)
      said = measured.reason or clock(measured.seconds)
      progress.message(f"[{number + 1}/{len(subjects)}]  {subject.title}: {said}")
    progress.completed(number + 1)
    found.append(measured)
  return found


def check(study: Study, configs: Sequence[Any]) -> Callable[..., Any]:
  """The function that measures.

  Raises:
    UserError: there is no such study, or it does not apply to a network of these configs.
  """
  from resnet_jax.study import measures as measures  # registers them

  function: Callable[..., Any] = STUDIES.find(study.measure)
  for config in configs:
    getattr(function, "check", lambda _: None)(config)
  return function


def _measure(study: Study, subject: Subject, folder: pathlib.Path) -> Measured:
  from resnet_jax.study.net import Net

  if subject.folder and workdir.result(subject.folder).get("status") == "diverged":
    return Measured(subject, [], reason="it diverged in training and is not measured")
  begin = time.monotonic()
  net = Net(subject.config, subject.folder, study.batch)
  try:
    function = check(study, [subject.config])
    lines = [_plain(line) for line in function(net, **study.settings)]
  except UserError as error:
    raise UserError(f"{subject.title}: {error}") from None
  if not lines:
    raise UserError(f"{subject.title}: the study {study.measure!r} has measured nothing")
  seconds = time.monotonic() - begin
  stored = {"of": _identity(study, subject), "seconds": seconds, "lines": lines}
  metrics.write_json(_file(folder, subject), stored)
  return Measured(subject, lines, seconds)


def _kept(study: Study, subject: Subject, folder: pathlib.Path) -> Measured | None:
  """What an earlier start has measured; None where that is nothing, or no longer holds."""
  path, now = _file(folder, subject), _identity(study, subject)
  try:
    stored = json.loads(path.read_text())
    before, lines, seconds = stored["of"], stored["lines"], stored["seconds"]
  except FileNotFoundError:
    return None
  except (ValueError, KeyError, OSError) as error:
    raise UserError(f"{path} is damaged ({error}); delete it, and it is measured again") from None
  old, new = (config_lib.stored(identity["config"]) for identity in (before, now))
  for key, (was, is_now) in config_lib.differences(old, new).items():
    raise UserError(
      f"{path} was measured with config.{key}={was!r}, not {is_now!r}; take a new --workdir"
    )
  return Measured(subject, lines, seconds) if before == now else None


def _identity(study: Study, subject: Subject) -> dict[str, Any]:
  """What a measurement depends on; with another network it is refused, with the rest made again."""
  result = workdir.result(subject.folder) if subject.folder else {}
  return {
    "study": study.measure,
    "sha256": STUDIES.parts[study.measure].sha256,
    "settings": json.loads(json.dumps(dict(study.settings))),
    "batch": study.batch,
    "steps": result.get("steps"),
    "config": json.loads(json.dumps(config_lib.to_json(subject.config))),
  }


def _file(folder: pathlib.Path, subject: Subject) -> pathlib.Path:
  return folder / "measured" / f"{subject.slug}.json"


def _plain(line: Mapping[str, Any]) -> Line:
  """Numbers as JSON has them: what is not finite is None."""
  values = {key: value.item() if hasattr(value, "item") else value for key, value in line.items()}
  return {
    key: None if isinstance(value, float) and not math.isfinite(value) else value
    for key, value in values.items()
  }
