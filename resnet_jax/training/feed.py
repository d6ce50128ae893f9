"""How training examples reach the step: a split that lies on the devices, or streamed batches.

Both take the same steps whatever was interrupted, since the examples of a step are a function of
the run's seed and the step alone.
"""

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import numpy as np

from resnet_jax.data import order, targets
from resnet_jax.data.batch import Batch, Examples, take
from resnet_jax.errors import UserError
from resnet_jax.runs.progress import say
from resnet_jax.training import steps
from resnet_jax.training.setup import Setup

MOST = 256  # steps in one dispatch


class Resident:
  """Every example on the devices: a dispatch takes many steps and waits for the host once."""

  def __init__(self, run: Setup):
    self._run = run
    self._dispatch = jax.jit(
      steps.dispatch(run.learner, MOST), donate_argnums=0, out_shardings=run.replicated
    )

  def advance(self, state: steps.TrainState, count: int) -> steps.Taken:
    """Takes `count` steps, at most `MOST`; returns the state and each step's metrics, [count]."""
    state, measured = self._dispatch(state, self._run.train, np.int32(count))
    return state, {key: np.asarray(value)[:count] for key, value in measured.items()}

  def batches(self) -> Generator[Batch, None, None]:
    """The batches of the steps, from the first on."""
    learner, examples = self._run.learner, self._run.train
    key, total = learner.key(1), len(examples.images)
    for first in itertools.count(step=MOST):
      for chosen in np.asarray(order.batch_indices(key, first, MOST, learner.batch_size, total)):
        yield take(examples, chosen)

  def close(self) -> None:
    """Nothing is held."""


class Streamed:
  """Photographs that worker processes decode and crop while the devices compute."""

  def __init__(self, run: Setup, warn: Callable[[str], None], watched: Callable):
    self._run, self._warn, self._watched = run, warn, watched
    self._step = jax.jit(
      lambda *given: steps.train_step(run.learner, *given),
      donate_argnums=0,
      out_shardings=run.replicated,
    )
    self._batches: Any = None  # from the first step on

  def advance(self, state: steps.TrainState, count: int) -> steps.Taken:
    """Takes `count` steps; returns the state and each step's metrics, [count].

    Raises:
      UserError: photographs cannot be read. In a run of one process the steps before that are
        returned first, and the error is raised by the next call, whose `state` is still there.
    """
    if self._batches is None:
      self._batches = self._until_failure(int(state.step))
    measured: list[dict[str, jax.Array]] = []
    for _ in range(count):
      batch = next(self._batches)
      if isinstance(batch, UserError):
        if not measured or jax.process_count() > 1:
          raise batch
        break
      state, metrics = self._step(state, batch)
      jax.block_until_ready(measured[-1:])  # the step before: two at a time are enough ahead
      measured.append(metrics)
    stacked = jax.tree.map(lambda *values: np.stack(values), *jax.device_get(measured))
    return state, stacked

  def _until_failure(self, first_step: int) -> Iterator[Batch | UserError]:
    """The batches from a step on; if photographs cannot be read, the error from there on."""
    try:
      yield from self._stream(first_step)
    except UserError as error:
      yield from itertools.repeat(error)

  def batches(self) -> Generator[Batch, None, None]:
    """The batches of the steps, from the first on; who closes it ends the workers."""
    return self._stream(0)

  def _stream(self, first_step: int) -> Generator[Batch, None, None]:
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
      targets=run.learner.task.targets,
    ) as batches:
      for batch in self._watched(batches, "reading photographs"):
        for example in set(batch["unreadable"].tolist()) - told - {-1}:
          told.add(example)
          self._warn(f"{run.train.name(example)} cannot be read; the next one takes its place")
        yield run.on_devices(batch["image"], targets.from_arrays(batch))

  def close(self) -> None:
    """Ends the workers."""
    if self._batches is not None:
      self._batches.close()


Feed = Resident | Streamed


def build(
  run: Setup,
  warn: Callable[[str], None] = say,
  watched: Callable = lambda batches, what: batches,
) -> Feed:
  """The feed of a run; `warn` is told of files that cannot be read, and `watched`, such as
  `Lookout.each`, hands on batches of which each may take long.
  """
  return Resident(run) if isinstance(run.train, Examples) else Streamed(run, warn, watched)
