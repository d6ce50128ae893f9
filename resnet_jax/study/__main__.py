"""Measures what happens inside of networks, and ends with a page that shows it.

    python -m resnet_jax.study --config=configs/study/propagation.py
    python -m resnet_jax.study --config=configs/study/propagation.py:cifar10 --workdir=runs/cifar
    python -m resnet_jax.study --config=configs/study/lesion.py --run=runs/resnet56

The networks are those that the study's file names, as they are initialized or after it has trained
them; with --run, those that these runs have trained. Settings for all networks are flags:
--config.model.init=xavier. A study that is stopped goes on when the same command is given again.
Exit codes: 0 done, 1 bad input, 2 a network could not be trained, 75 stopped, run me again.
"""

import os
import pathlib
import shlex
import sys
from typing import Any

from absl import flags

from resnet_jax import cli
from resnet_jax.config import files, paths
from resnet_jax.errors import UserError
from resnet_jax.runs import workdir
from resnet_jax.study.words import Panel, Study
from resnet_jax.sweep import plan as plan_lib
from resnet_jax.sweep import status
from resnet_jax.training import compilation

_CONFIG = flags.DEFINE_string(
  "config", None, "Study file, such as configs/study/propagation.py or propagation.py:cifar10."
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of the study: its runs, measurements and page; runs/study/NAME by default.",
)
_RUNS = flags.DEFINE_multi_string(
  "run", [], "Measure this run, or all of this sweep, in place of the file's networks; repeatable."
)
_SEEDS = flags.DEFINE_integer("seeds", None, "Seeds of each network; by default the file's.", 1)
_JOBS = flags.DEFINE_integer(
  "jobs", None, "Trainings at a time; by default one a GPU, or one a core.", lower_bound=1
)


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; whatever is wrong with them ends the program with one line."""
  try:
    argv = paths.expand_flags(argv)
    own = [argument for argument in argv if not argument.startswith(("--config.", "-config."))]
    rest = flags.FLAGS(own)
    if rest[1:]:
      raise UserError(f"{rest[1]!r} is not a flag; settings are written --config.key=value")
    if not _CONFIG.value:
      raise UserError("--config is missing: name a study, as --config=configs/study/propagation.py")
    if _RUNS.value and (own != argv or _SEEDS.value):
      raise UserError("--run measures runs as they are; leave --seeds and --config.key=value out")
    _settings(argv)
    return argv
  except (UserError, flags.Error) as error:
    cli.refuse(error)


def _settings(argv: list[str]) -> dict[str, Any]:
  return plan_lib.settings(argv, lambda: _read()[1].sweep.base)


def _read() -> tuple[Any, Study]:
  """The module of the study file, and its study.

  Raises:
    UserError: there is no such file, or it holds no study.
  """
  spec = str(_CONFIG.value)
  module, study = plan_lib.call(spec, "get_study")
  if not isinstance(study, Study):
    raise UserError(f"get_study of --config={spec!r} returned {study!r}; it must return a Study")
  for panel in study.panels or [None]:  # type: ignore[list-item]
    if not isinstance(panel, Panel):
      raise UserError(
        f"--config={spec!r}: {panel!r} is no panel; write Panel('column', 'its label')"
      )
  return module, study


def main(argv: list[str]) -> None:
  """Trains what the study needs, measures, and writes the page."""
  spec = str(_CONFIG.value)
  shared = _settings(argv)
  files.find(spec.partition(":")[0])
  cli.announce(f"reading {spec} and checking its networks")
  module, study = _read()
  plan = plan_lib.settle(spec, module, study.sweep, shared, _SEEDS.value)
  default = pathlib.Path("runs", "study", plan.name.replace(":", "-"))
  folder = pathlib.Path(os.path.expanduser(_WORKDIR.value or default))
  subjects = _named_runs(study) if _RUNS.value else _planned(study, plan, folder, argv)
  compilation.set_up()
  from resnet_jax.report.write import save
  from resnet_jax.runs.progress import Progress
  from resnet_jax.study import page, run

  with workdir.lock(folder), Progress(len(subjects), what="measuring") as progress:
    found = run.measure_all(study, subjects, folder, progress)
  command = shlex.join(["python", "-m", "resnet_jax.study", *argv[1:]])
  own = not (_RUNS.value or shared or ":" in spec)
  built = page.build(study, found, plan.title, command, own)
  out = save(built, {"numbers.csv": page.csv_lines(found)}, folder / "report")
  print(f"the page is in {out}")


def _named_runs(study: Study) -> list[Any]:
  from resnet_jax.study import run

  subjects = run.of_folders([pathlib.Path(os.path.expanduser(name)) for name in _RUNS.value])
  run.check(study, [subject.config for subject in subjects])
  return subjects


def _planned(study: Study, plan: plan_lib.Plan, folder: pathlib.Path, argv: list[str]) -> list[Any]:
  """The networks that the file names; what is to be trained and is not is trained first."""
  import jax

  runs = plan.runs(folder)
  left = study.trained and not all(status.read(run).finished for run in runs)
  if left:  # the runs need the accelerator's memory
    jax.config.update("jax_platforms", "cpu")
  from resnet_jax.study import run as run_lib

  run_lib.check(study, [plan.config(run) for run in runs])
  configs = plan_lib.check(plan, folder)
  with workdir.lock(folder):
    plan_lib.save(plan, folder)
    if left:
      _train(list(configs))
  if left:  # to measure, this process begins anew, with the accelerator
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "resnet_jax.study", *argv[1:]])
  return run_lib.of_plan(configs, study.trained)


def _train(runs: list[plan_lib.PlannedRun]) -> None:
  from resnet_jax.sweep import devices, local

  slots = devices.slots(_JOBS.value)
  cli.announce(
    f"training what is left of {len(runs)} networks, {min(len(slots), len(runs))} at a time"
  )
  local.exit_if_failed(local.run_all(runs, slots))


if __name__ == "__main__":
  cli.run(main, parse)
