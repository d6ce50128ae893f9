"""Trains every row of a sweep file with several seeds, and ends with the page that compares them.

    python -m resnet_jax.sweep --config=configs/sweeps/shortcuts.py:digits --workdir=runs/shortcuts
    python -m resnet_jax.sweep --config=configs/sweeps/depth.py --workdir=runs/depth --dry_run

Settings for all rows are flags: --config.train.steps=6400. A sweep that is stopped goes on when
the same command is given again: finished runs stay, half-done ones resume. Exit codes: 0 all runs
are finished, 1 bad input, 2 some runs failed, 75 stopped, run me again.
"""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from absl import flags

from resnet_jax import cli
from resnet_jax.config import files, paths
from resnet_jax.errors import UserError
from resnet_jax.runs import workdir
from resnet_jax.sweep import plan as plan_lib
from resnet_jax.sweep.devices import Slot
from resnet_jax.sweep.plan import PlannedRun
from resnet_jax.training import compilation

_CONFIG = flags.DEFINE_string(
  "config", None, "Sweep file, such as configs/sweeps/shortcuts.py:digits."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep: its runs, logs and report.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "List the runs, their sizes and times; run nothing.")
_JOBS = flags.DEFINE_integer(
  "jobs", None, "Runs at a time; by default one a GPU, or one a core.", lower_bound=1
)
_SEEDS = flags.DEFINE_integer("seeds", None, "Seeds of each row; by default the file's.", 1)
_GROUPS = flags.DEFINE_multi_string(
  "group", [], "Run and show only this group of rows, as ResNet-110; may be given again."
)
_LAUNCHER = flags.DEFINE_enum("launcher", "local", ["local", "slurm"], "Where the runs go.")
_SLURM = flags.DEFINE_string(
  "slurm", "", "With --launcher=slurm: what a run needs, as partition=gpu,gpus_per_node=1."
)
_TOGETHER = flags.DEFINE_bool(
  "together", False, "Train all seeds of a row in one process, each on its share of the devices."
)
_SHARD = flags.DEFINE_string("shard", "1/1", "With 2/3, the second third of the runs alone.")


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; whatever is wrong with them ends the program with one line."""
  try:
    argv = paths.expand_flags(argv)
    own = [argument for argument in argv if not argument.startswith(("--config.", "-config."))]
    rest = flags.FLAGS(own)
    if rest[1:]:
      raise UserError(f"{rest[1]!r} is not a flag; settings are written --config.key=value")
    if _SLURM.value and _LAUNCHER.value != "slurm":
      raise UserError("--slurm belongs to --launcher=slurm")
    if _TOGETHER.value and _LAUNCHER.value == "slurm":
      raise UserError("--together belongs to --launcher=local")
    if _TOGETHER.value and _DRY_RUN.value:
      raise UserError("--dry_run foretells runs of a process each; leave --together out")
    _settings(argv)
    return argv
  except (UserError, flags.Error) as error:
    cli.refuse(error)


def _settings(argv: list[str]) -> dict[str, Any]:
  spec = _CONFIG.value
  return plan_lib.settings(argv, (lambda: plan_lib.read(spec, {}).base) if spec else None)


def main(argv: list[str]) -> None:
  """Runs the sweep that the flags ask for."""
  shared = _settings(argv)
  if not _CONFIG.value:
    raise UserError("--config is missing: name a sweep, as --config=configs/sweeps/shortcuts.py")
  if not _WORKDIR.value:
    raise UserError("--workdir is missing: name the folder of the sweep, as --workdir=runs/mine")
  files.find(_CONFIG.value.partition(":")[0])  # before it takes seconds
  cli.announce(f"reading {_CONFIG.value} and checking every row")
  import jax

  from resnet_jax.sweep import devices, estimate

  jobs = _JOBS.value or (1 if _TOGETHER.value else None)
  folder, slots = pathlib.Path(os.path.expanduser(_WORKDIR.value)), devices.slots(jobs)
  if _DRY_RUN.value:
    devices.occupy(slots[0])  # to measure what a run will take
  else:  # the runs need the accelerator's memory
    jax.config.update("jax_platforms", "cpu")
  plan = plan_lib.read(_CONFIG.value, shared, _SEEDS.value)
  configs = plan_lib.check(plan, folder)
  if _TOGETHER.value:
    configs = {plan.together(run): config for run, config in configs.items()}
  configs = _select(configs)
  if _DRY_RUN.value:
    compilation.set_up()
    first = next(iter(configs)).row
    cli.announce(f"timing some steps of {first.title!r}, then counting the sizes of all rows")
    print(estimate.to_text(configs, len(slots)))
    return
  with workdir.lock(folder):
    plan_lib.save(plan, folder)
    if _LAUNCHER.value == "slurm":
      _submit(list(configs), folder)
    else:
      _run(list(configs), slots, folder)


def _select(configs: dict[PlannedRun, Any]) -> dict[PlannedRun, Any]:
  """The runs of the groups and the share that the flags ask for."""
  plan_lib.check_groups(_GROUPS.value, {run.row.group for run in configs})
  match = re.fullmatch(r"(\d+)/(\d+)", _SHARD.value)
  share, shares = map(int, match.groups()) if match else (0, 0)
  if not 1 <= share <= shares:
    raise UserError(f"--shard={_SHARD.value!r} is no share; write 1/2 and, elsewhere, 2/2")
  wanted = [run for run in configs if not _GROUPS.value or run.row.group in _GROUPS.value]
  commands = list(dict.fromkeys(run.command for run in wanted))
  if len(commands) < share:
    have = f"{len(commands)} {'rows' if _TOGETHER.value else 'runs'}"
    raise UserError(f"--shard={_SHARD.value!r}: {have} are fewer than the shares")
  chosen = commands[share - 1 :: shares]
  return {run: configs[run] for run in wanted if run.command in chosen}


def _run(runs: Sequence[PlannedRun], slots: Sequence[Slot], folder: pathlib.Path) -> None:
  """Runs all on this machine, and writes the page; of some groups, a page of these."""
  from resnet_jax.report.make import make
  from resnet_jax.sweep import local

  cli.announce(f"running what is left of {len(runs)} runs, {min(len(slots), len(runs))} at a time")
  ended = local.run_all(runs, slots)
  print(f"the report is in {make([folder], _GROUPS.value, folder / 'report')}")
  local.exit_if_failed(ended)


def _submit(runs: Sequence[PlannedRun], folder: pathlib.Path) -> None:
  """Hands what neither is finished nor runs to SLURM."""
  from resnet_jax.sweep import slurm, status

  needs = slurm.parameters(_SLURM.value)
  left = [run for run in runs if status.read(run).state not in ("running", *status.FINISHED)]
  if left:
    slurm.submit(left, folder, needs, _JOBS.value)
  else:
    print(f"all {len(runs)} runs are finished or running")


if __name__ == "__main__":
  cli.run(main, parse)
