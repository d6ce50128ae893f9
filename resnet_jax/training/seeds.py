"""Several seeds of one run in one program, each on its share of the devices: --seeds."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
from typing import Any

import jax

from resnet_jax import config as config_lib
from resnet_jax.config import paths
from resnet_jax.distributed import mesh, processes
from resnet_jax.distributed.preemption import StopRequest
from resnet_jax.errors import UserError
from resnet_jax.runs import record as record_lib
from resnet_jax.runs import workdir
from resnet_jax.runs.progress import OfSeed, Progress
from resnet_jax.training import feed, setup, steps, train


def train_all(config, directory: str | os.PathLike, count: int) -> list[dict[str, Any]]:
  """Trains `count` seeds from `config.seed` on, in `directory`/seed0, seed1 and so on.

  Each folder is that of a run of its own, which may go on alone as well.

  Returns:
    the results, as in `result.json`.

  Raises:
    UserError: something in the config, the folders or the number of seeds cannot work.
    Preempted: SIGTERM, SIGINT or SIGUSR2; all are saved.
    Diverged: at least one seed is not finite any more; the others are done.
    OSError: the disk would not take what one seed has to save; the others are done.
  """
  setup.check(config)
  if jax.process_count() > 1:
    raise UserError("--seeds belongs to a run of one process")
  mesh.check(config.data.batch_size, count)
  folder = pathlib.Path(paths.expand(directory, "--workdir"))
  if (folder / "config.json").exists() or workdir.holds_checkpoints(folder):
    raise UserError(f"--workdir={folder} holds a run; --seeds takes a folder for several")
  record_lib.patience()
  seeds = range(config.seed, config.seed + count)
  configs = [_of(config, seed) for seed in seeds]
  places = [folder / f"seed{seed}" for seed in seeds]
  if new := workdir.begins(*places):
    config_lib.refuse_unread(config)
  with contextlib.ExitStack() as stack:
    old = [train.enter(path, own, stack) for path, own in zip(places, configs, strict=True)]
    first = setup.setup(configs[0])
    if new:
      setup.refuse_idle(first)
    if not isinstance(first.train, steps.Examples):
      raise UserError("--seeds is for data that lie in memory; these photographs are streamed")
    runs = [
      first._replace(config=own, task=dataclasses.replace(first.task, seed=own.seed))
      for own in configs
    ]
    stop = stack.enter_context(StopRequest())
    progress = stack.enter_context(Progress(first.durations.steps))
    loops, heard = list[train.Loop](), [config.seed]
    for run, path, before in zip(runs, places, old, strict=True):
      voice = OfSeed(progress, run.config.seed, heard)
      loops.append(train.Loop(run, path, stop, voice, processes.Lookout()))
      loops[-1].restore(before and config_lib.from_json(before))
    results = train.take_turns(loops, feed.Seeds(runs).advance)
    progress.message(_summary(results))
    return results


def _of(config, seed: int):
  """The config with another seed."""
  own = config.copy_and_resolve_references()
  own.seed = seed
  return own


def _summary(results: list[dict[str, Any]]) -> str:
  errors = [result["test_error"] for result in results]
  spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
  return f"{len(errors)} seeds: test error {statistics.fmean(errors):.2f}{spread} %"
