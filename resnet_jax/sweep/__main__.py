"""Trains every row of a sweep file with several seeds, and ends with the page that compares them.

    python -m resnet_jax.sweep --config=configs/sweeps/shortcuts.py:digits --workdir=runs/shortcuts
    python -m resnet_jax.sweep --config=configs/sweeps/depth.py --workdir=runs/depth --dry_run

Settings for all rows are flags: --config.train.steps=6400. A sweep that is stopped goes on when
the same command is given again: finished runs stay, half-done ones resume. Exit codes: 0 all runs
are finished, 1 bad input or a run that failed, 75 stopped, run me again.
"""

import ast
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from resnet_jax import compilation, preemption, workdir
from resnet_jax import config as config_lib
from resnet_jax.errors import EXIT_PREEMPTED, Preempted, UserError
from resnet_jax.sweep import plan as plan_lib
from resnet_jax.sweep.devices import Slot
from resnet_jax.sweep.plan import Run

_CONFIG = flags.DEFINE_string(
  "config", None, "Sweep file, such as configs/sweeps/shortcuts.py:digits."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep: its runs, logs and report.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "List the runs, their sizes and times; run nothing.")
_JOBS = flags.DEFINE_integer(
  "jobs", None, "Runs at a time; by default one a GPU, or one a core.", lower_bound=1
)
_SEEDS = flags.DEFINE_integer("seeds", None, "Seeds of each row; by default the file's.", 1)
_GROUPS = flags.DEFINE_list("groups", [], "Only the rows of these groups, as ResNet-110.")
_LAUNCHER = flags.DEFINE_enum("launcher", "local", ["local", "slurm"], "Where the runs go.")
_SLURM = flags.DEFINE_string(
  "slurm", "", "With --launcher=slurm: what a run needs, as partition=gpu,gpus_per_node=1."
)
_SHARD = flags.DEFINE_string("shard", "1/1", "With 2/3, the second third of the runs alone.")


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; whatever is wrong with them ends the program with one line."""
  try:
    own = [argument for argument in argv if not argument.startswith(("--config.", "-config."))]
    rest = flags.FLAGS(own)
    if rest[1:]:
      raise UserError(f"{rest[1]!r} is not a flag; settings are written --config.key=value")
    if _SLURM.value and _LAUNCHER.value != "slurm":
      raise UserError("--slurm belongs to --launcher=slurm")
    settings(argv)
    return argv
  except (UserError, flags.Error) as error:
    sys.exit(f"error: {' '.join(str(error).split())[:400]}")


def settings(argv: Sequence[str]) -> dict[str, Any]:
  """The settings among the arguments: --config.train.steps=100 as {"train.steps": 100}."""
  found: dict[str, Any] = {}
  known = config_lib.leaves(config_lib.default_config())
  for argument in argv:
    name, equals, value = argument.lstrip("-").partition("=")
    if not argument.startswith("-") or not name.startswith("config."):
      continue
    key = name.removeprefix("config.")
    if key not in known:
      raise config_lib.unknown_key(key)
    if not equals:
      raise UserError(f"--{name} has no value; write --{name}={known[key]}")
    try:
      found[key] = ast.literal_eval(value)
    except (ValueError, SyntaxError):  # a text
      found[key] = value
  return found


def main(argv: list[str]) -> None:
  """Runs the sweep that the flags ask for."""
  logging.set_verbosity(logging.WARNING)
  try:
    _sweep(settings(argv))
  except (UserError, OSError) as error:
    sys.exit(f"error: {error}")


def _sweep(shared: dict[str, Any]) -> None:
  if not _CONFIG.value:
    raise UserError("--config is missing: name a sweep, as --config=configs/sweeps/shortcuts.py")
  if not _WORKDIR.value:
    raise UserError("--workdir is missing: name the folder of the sweep, as --workdir=runs/mine")
  import jax

  from resnet_jax.sweep import devices, estimate

  folder, slots = pathlib.Path(_WORKDIR.value), devices.slots(_JOBS.value)
  if _DRY_RUN.value:
    devices.occupy(slots[0])  # to measure what a run will take
  else:  # the runs need the accelerator's memory
    jax.config.update("jax_platforms", "cpu")
  plan = plan_lib.read(_CONFIG.value, shared, _SEEDS.value, _GROUPS.value)
  configs = _shard(plan_lib.check(plan, folder))
  if _DRY_RUN.value:
    compilation.use_cache()
    print(estimate.to_text(configs, len(slots)))
    return
  with workdir.lock(folder):
    plan_lib.save(plan, folder)
    if _LAUNCHER.value == "slurm":
      _submit(configs, folder)
    else:
      _run(configs, slots, folder)


def _shard(configs: dict[Run, Any]) -> dict[Run, Any]:
  """The share of all runs that --shard asks for."""
  match = re.fullmatch(r"(\d+)/(\d+)", _SHARD.value)
  if not match or not 1 <= int(match[1]) <= int(match[2]):
    raise UserError(f"--shard={_SHARD.value!r} is no share; write 1/2 and, elsewhere, 2/2")
  return dict(list(configs.items())[int(match[1]) - 1 :: int(match[2])])


def _run(configs: dict[Run, Any], slots: Sequence[Slot], folder: pathlib.Path) -> None:
  """Runs all on this machine, and writes the page."""
  from resnet_jax.report.read import read
  from resnet_jax.report.write import write
  from resnet_jax.sweep import local

  ended = local.run_all(configs, slots)
  print(f"the report is in {write(read([folder]), folder / 'report')}")
  failed = [f"{run.name}: {found.reason}" for run, found in ended.items() if not found.finished]
  if failed:
    lines = "\n  ".join(failed)
    raise UserError(f"{len(failed)} runs failed; the same command tries them again\n  {lines}")


def _submit(configs: dict[Run, Any], folder: pathlib.Path) -> None:
  """Hands what is not finished to SLURM."""
  from resnet_jax.sweep import slurm, status

  needs, left = slurm.parameters(_SLURM.value), []
  for run, config in configs.items():
    found = status.read(run)
    if found.state != "running" and not found.finished_as(config):
      left.append(run)
  if left:
    slurm.submit(left, folder, needs, _JOBS.value)
  else:
    print(f"all {len(configs)} runs are finished or running")


def run() -> None:
  """The `resnet_jax.sweep` command."""
  preemption.leave_at_once()
  try:
    app.run(main, flags_parser=parse)
  except Preempted as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(EXIT_PREEMPTED)


if __name__ == "__main__":
  run()
