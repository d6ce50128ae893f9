"""Several seeds of one run in one program, each on its share of the devices: --seeds."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax.config import paths
from resnet_jax.data.batch import Examples
from resnet_jax.distributed import mesh, processes
from resnet_jax.distributed.preemption import StopRequest
from resnet_jax.errors import Diverged, Preempted, UserError
from resnet_jax.runs import record as record_lib
from resnet_jax.runs import workdir
from resnet_jax.runs.headline import Metric
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
  configs = [config.copy_and_resolve_references() for _ in seeds]
  for own, seed in zip(configs, seeds, strict=True):
    own.seed = seed
  places = [folder / f"seed{seed}" for seed in seeds]
  with contextlib.ExitStack() as stack:
    first, old = train.enter_all(places, configs, stack)
    if not isinstance(first.train, Examples):
      raise UserError("--seeds is for data that lie in memory; these photographs are streamed")
    runs = [
      first._replace(config=own, learner=dataclasses.replace(first.learner, seed=own.seed))
      for own in configs
    ]
    stop = stack.enter_context(StopRequest())
    progress = stack.enter_context(Progress(first.durations.steps))
    loops, heard = list[train.Loop](), [config.seed]
    for run, path, before in zip(runs, places, old, strict=True):
      voice = OfSeed(progress, run.config.seed, heard)
      loops.append(train.Loop(run, path, stop, voice, processes.Lookout()))
      loops[-1].restore(before)
    results = to_their_ends(loops, Together(runs))
    progress.message(_summary(results, first.learner.task.headline))
    return results


def to_their_ends(loops: Sequence[train.Loop], together: "Together") -> list[dict[str, Any]]:
  """Trains runs side by side, as `train.to_its_end` does one; returns their results.

  Raises:
    UserError, OSError: one could not go on, as on a full disk; the others have come to their ends.
    Preempted: a signal; all have saved.
    Diverged: at least one has; the others have come to their ends.
  """
  results: list[dict[str, Any]] = [{} for _ in loops]
  failures = list[BaseException]()
  counts = [0 for _ in loops]

  def turn(number: int, *taken: Any) -> None:
    """Brings one run to its next steps, or to its end; first it takes what it has come to."""
    loop = loops[number]
    counts[number] = 0
    try:
      if taken:
        loop.take(*taken)
      loop.measure()
      if loop.done:
        results[number] = loop.finish()
      else:
        counts[number] = loop.count()
    except (UserError, OSError, Preempted, Diverged) as error:
      failures.append(error)
      if len(loops) > 1:
        loop.progress.message(str(error))

  for number, loop in enumerate(loops):
    if not loop.done:
      loop.progress.phase("compiling")
    turn(number)
  while any(counts):
    begin, asked = time.monotonic(), list(counts)
    advanced = together.advance([loop.state for loop in loops], asked)
    seconds = time.monotonic() - begin
    for number, taken in enumerate(advanced):
      if count := asked[number]:
        # They took as long as the most steps did; one that took fewer is no slower for that.
        share = seconds * count / max(asked)
        turn(number, taken, count, share)
  for kind in ((UserError, OSError), Preempted, Diverged):
    for failure in failures:
      if isinstance(failure, kind):
        raise failure
  return results


class Together:
  """Several seeds of one run, on a mesh along `seed` and `data`: each on its share of the devices.

  The batches of each are spread over its devices; nothing passes from seed to seed.
  """

  def __init__(self, runs: Sequence[setup.Setup]):
    self._runs, learner = runs, runs[0].learner
    self._devices = np.asarray(jax.devices()).reshape(len(runs), -1)
    grid = Mesh(self._devices, ("seed", "data"))
    of_each, shared = PartitionSpec("seed"), PartitionSpec()
    self._of_each = NamedSharding(grid, of_each)
    self._seeds = self._spread([run.learner.seed for run in runs])
    self._examples = jax.device_put(runs[0].train, NamedSharding(grid, shared))
    self._states: Any = None  # of all, on a leading axis

    @functools.partial(jax.jit, donate_argnums=1)
    @functools.partial(
      jax.shard_map,
      mesh=grid,
      in_specs=(of_each, of_each, shared, of_each),
      out_specs=of_each,
      axis_names={"seed"},
      check_vma=False,
    )
    def of_one(seed, state, examples, count):
      seed, state, count = jax.tree.map(lambda leaf: leaf[0], (seed, state, count))
      spread = NamedSharding(jax.sharding.get_abstract_mesh(), PartitionSpec("data"))
      own = dataclasses.replace(learner, seed=seed, batch_sharding=spread)
      taken = steps.dispatch(own, feed.MOST)(state, examples, count)
      taken = jax.lax.with_sharding_constraint(taken, own.replicated)
      return jax.tree.map(lambda leaf: leaf[None], taken)

    self._dispatch = of_one

  def advance(self, states: Sequence[steps.TrainState], counts: Sequence[int]) -> list[steps.Taken]:
    """Takes `counts` steps of each, none or at most `MOST`, as `Resident.advance` does of one.

    The states must be those that the last call returned.
    """
    if self._states is None:
      self._states = jax.tree.map(lambda *leaves: self._spread(leaves), *jax.device_get(states))
    self._states, measured = self._dispatch(
      self._seeds, self._states, self._examples, self._spread(np.asarray(counts, np.int32))
    )
    measured = jax.device_get(measured)
    return [
      (self._own(number), {key: value[number][:count] for key, value in measured.items()})
      for number, count in enumerate(counts)
    ]

  def _spread(self, values) -> jax.Array:
    """A value for each seed, on its devices."""
    return jax.device_put(np.stack(values), self._of_each)

  def _own(self, number: int) -> steps.TrainState:
    """The state of one seed, on all devices."""
    first = self._devices[number, 0]

    def own(leaf: jax.Array) -> jax.Array:
      return next(shard.data[0] for shard in leaf.addressable_shards if shard.device == first)

    return jax.device_put(jax.tree.map(own, self._states), self._runs[number].replicated)


def _summary(results: list[dict[str, Any]], headline: Metric) -> str:
  values = [result[f"test_{headline.name}"] for result in results]
  spread = f" ± {statistics.stdev(values):.{headline.digits}f}" if len(values) > 1 else ""
  mean = f"{statistics.fmean(values):.{headline.digits}f}{spread} {headline.unit}".rstrip()
  return f"{len(values)} seeds: test {headline.title} {mean}"
