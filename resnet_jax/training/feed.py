"""How training examples reach the step: a split that lies on the devices, or streamed batches.

Both take the same steps whatever was interrupted, since the examples of a step are a function of
the run's seed and the step alone.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax.data import order
from resnet_jax.errors import UserError
from resnet_jax.runs.progress import say
from resnet_jax.training import steps
from resnet_jax.training.setup import Setup

MOST = 256  # steps in one dispatch

Batch = tuple[steps.Examples, Any]  # examples, and which of them: None for all


class Resident:
  """Every example on the devices: a dispatch takes many steps and waits for the host once."""

  def __init__(self, run: Setup):
    self._run = run
    self._dispatch = jax.jit(
      steps.dispatch(run.task, MOST), donate_argnums=0, out_shardings=run.replicated
    )

  def advance(self, state: steps.TrainState, count: int) -> tuple[steps.TrainState, dict[str, Any]]:
    """Takes `count` steps, at most `MOST`; returns the state and each step's metrics, [count]."""
    state, measured = self._dispatch(state, self._run.train, np.int32(count))
    return state, {key: np.asarray(value)[:count] for key, value in measured.items()}

  def batches(self) -> Iterator[Batch]:
    """The batches of the steps, from the first on."""
    task, examples = self._run.task, self._run.train
    for first in itertools.count(step=MOST):
      key, total = task.key(1), len(examples.labels)
      for chosen in np.asarray(order.batch_indices(key, first, MOST, task.batch_size, total)):
        yield examples, chosen

  def close(self) -> None:
    """Nothing is held."""


class Seeds:
  """Several seeds of one run, on a mesh along `seed` and `data`: each on its share of the devices.

  The batches of each are spread over its devices; nothing passes from seed to seed.
  """

  def __init__(self, runs: Sequence[Setup]):
    self._runs, task = runs, runs[0].task
    self._devices = np.asarray(jax.devices()).reshape(len(runs), -1)
    mesh = Mesh(self._devices, ("seed", "data"))
    of_each, shared = PartitionSpec("seed"), PartitionSpec()
    self._of_each = NamedSharding(mesh, of_each)
    self._seeds = self._spread([run.task.seed for run in runs])
    self._examples = jax.device_put(runs[0].train, NamedSharding(mesh, shared))
    self._states: Any = None  # of all, on a leading axis

    def of_one(seed, state, examples, count):
      seed, state, count = jax.tree.map(lambda leaf: leaf[0], (seed, state, count))
      spread = NamedSharding(jax.sharding.get_abstract_mesh(), PartitionSpec("data"))
      own = dataclasses.replace(task, seed=seed, batch_sharding=spread)
      taken = steps.dispatch(own, MOST)(state, examples, count)
      taken = jax.lax.with_sharding_constraint(taken, own.replicated)
      return jax.tree.map(lambda leaf: leaf[None], taken)

    self._dispatch = jax.jit(
      jax.shard_map(
        of_one,
        in_specs=(of_each, of_each, shared, of_each),
        out_specs=of_each,
        mesh=mesh,
        axis_names={"seed"},
        check_vma=False,
      ),
      donate_argnums=1,
    )

  def advance(
    self, states: Sequence[steps.TrainState], counts: Sequence[int]
  ) -> list[tuple[steps.TrainState, dict[str, Any]]]:
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
    pick = lambda leaf: next(s.data[0] for s in leaf.addressable_shards if s.device == first)
    return jax.device_put(jax.tree.map(pick, self._states), self._runs[number].replicated)


class Streamed:
  """Photographs that worker processes decode and crop while the devices compute."""

  def __init__(self, run: Setup, warn: Callable[[str], None], watched: Callable):
    self._run, self._warn, self._watched = run, warn, watched
    self._step = jax.jit(
      lambda *given: steps.train_step(run.task, *given),
      donate_argnums=0,
      out_shardings=run.replicated,
    )
    self._batches: Any = None
    self._failure: UserError | None = None

  def advance(self, state: steps.TrainState, count: int) -> tuple[steps.TrainState, dict[str, Any]]:
    """Takes `count` steps; returns the state and each step's metrics, [count].

    Raises:
      UserError: photographs cannot be read. In a run of one process the steps before that are
        returned first, and the error is raised by the next call, whose `state` is still there.
    """
    if self._batches is None:
      self._batches = self._stream(int(state.step))
    measured: list[dict[str, jax.Array]] = []
    for _ in range(count):
      try:
        examples = self._next()
      except UserError:
        if not measured or jax.process_count() > 1:
          raise
        break
      state, metrics = self._step(state, examples)
      jax.block_until_ready(measured[-1:])  # the step before: two at a time are enough ahead
      measured.append(metrics)
    stacked = jax.tree.map(lambda *values: np.stack(values), *jax.device_get(measured))
    return state, stacked

  def _next(self) -> steps.Examples:
    if self._failure is None:
      try:
        return next(self._batches)[0]
      except UserError as error:
        self._failure = error
    raise self._failure

  def batches(self) -> Iterator[Batch]:
    """The batches of the steps, from the first on."""
    return self._stream(0)

  def _stream(self, first_step: int) -> Iterator[Batch]:
    from resnet_jax.data.photos import pipeline

    run, told = self._run, set[int]()
    config = run.config.data
    with pipeline.training(
      run.train,
      batch_size=config.batch_size,
      image_size=config.image_size,
      crop=config.crop,
      seed=run.config.seed,
      first_step=first_step,
      workers=config.workers,
      process=(jax.process_index(), jax.process_count()),
    ) as batches:
      for batch in self._watched(batches, "reading photographs"):
        for example in set(batch["unreadable"].tolist()) - told - {-1}:
          told.add(example)
          self._warn(f"{run.train.name(example)} cannot be read; the next one takes its place")
        yield run.on_devices(batch["image"], batch["label"]), None

  def close(self) -> None:
    """Ends the workers."""
    if self._batches is not None:
      self._batches.close()


def build(
  run: Setup,
  warn: Callable[[str], None] = say,
  watched: Callable = lambda batches, what: batches,
) -> Resident | Streamed:
  """The feed of a run; `warn` is told of files that cannot be read, and `watched`, such as
  `Lookout.each`, hands on batches of which each may take long.
  """
  return Resident(run) if isinstance(run.train, steps.Examples) else Streamed(run, warn, watched)
