"""Batches of photographs in an order that depends on the seed alone, made ahead of the run.

Grain shuffles, counts and prefetches; `workers` decode. Examples stand in an endless line, epoch
after epoch, each a fresh permutation; step s takes positions s * batch to (s + 1) * batch - 1. So
batches are the same, bit for bit, for any number of workers, and a run that resumes needs nothing
but its step.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from resnet_jax.data.photos import crops, examples
from resnet_jax.data.photos.sources import Source
from resnet_jax.data.photos.workers import Arrays, Pool
from resnet_jax.data.targets import LABELS, OnHost

_AHEAD = 2  # batches that wait, beside the one that each worker makes


class Batches(Iterator[Arrays], contextlib.AbstractContextManager["Batches"]):
  """An iterator over batches, whose state is how many it has delivered.

  The state is Grain's, and the same for any number of workers. To be closed, or used in a `with`,
  where it is not read to its end.
  """

  def __init__(self, requests: grain.MapDataset, task: Any, workers: int | None):
    """Of what `task` makes of each request; `workers` None is one a core, 0 none but this one."""
    count = _cores() if workers is None else workers
    self._pool = Pool(task, count, task.held)
    ahead = grain.ReadOptions(num_threads=count, prefetch_buffer_size=count and count + _AHEAD)
    self._batches = iter(requests.map(self._pool).to_iter_dataset(ahead))

  def __next__(self) -> Arrays:
    try:
      return next(self._batches)
    except StopIteration:
      self.close()
      raise

  def start(self) -> None:
    """Begins before the first batch is asked for, while the run compiles."""
    self._batches.start_prefetch()

  def get_state(self) -> dict[str, int]:
    """What `set_state` takes, of an iterator with other workers too."""
    return dict(self._batches.get_state())

  def set_state(self, state: dict[str, int]) -> None:
    """Goes on behind the batch that was the last when the state was taken."""
    self._batches.set_state(state)

  def close(self) -> None:
    """Ends the workers."""
    self._batches.close()
    self._pool.close()

  def __exit__(self, *_: object) -> None:
    self.close()


def training(
  source: Source,
  *,
  batch_size: int,
  image_size: int,
  crop: str,
  seed: int,
  first_step: int = 0,
  workers: int | None = None,
  process: tuple[int, int] = (0, 1),
  targets: OnHost = LABELS,
) -> Batches:
  """Random crops of `source`, without end, from step `first_step` on.

  Args:
    source: what to train on.
    batch_size: examples a step, over all processes.
    image_size: S, the side of a crop in pixels.
    crop: one of `crops.KINDS`.
    seed: of the order and of the crops.
    first_step: the step of the first batch; the state counts steps too.
    workers: processes that decode; None: one a core, 0: none but this.
    process: (p, P): which of P processes of the run this is; it gets the p-th share of each batch,
      so that their shares in order are the batch of a single process.
    targets: how the task treats them on the host.

  Returns:
    Batches of image uint8 [b, S, S, 3], the targets (see `data.targets.as_arrays`), and unreadable
    int32 [b], the example that could not be read and that the source's next one replaces, else -1.

  Raises:
    UserError: an unknown crop; when iterating, photographs that cannot be read one after another.
  """
  crops.check(crop)
  # Grain adds the epoch to the seed: near seeds would have epochs in common.
  spread = int(np.random.SeedSequence(seed).generate_state(1)[0])
  line = grain.MapDataset.range(len(source)).shuffle(seed=spread).repeat()
  number, processes = process
  begin, end = (batch_size * share // processes for share in (number, number + 1))

  def request(step: int) -> tuple[int, list[int]]:
    first = step * batch_size + begin
    return first, [int(line[first + i]) for i in range(end - begin)]

  task = examples.Training(source, image_size, crop, seed, targets)
  steps = grain.MapDataset.range(sys.maxsize // batch_size).map(request)
  batches = Batches(steps, task, workers)
  batches.set_state({"next_index": first_step})
  batches.start()
  return batches


def evaluation(
  source: Source,
  *,
  batch_size: int,
  transform: examples.Transform,
  workers: int | None = None,
  process: tuple[int, int] = (0, 1),
) -> Batches:
  """Every example of `source` once, in order.

  All processes get as many batches, the last of them smaller where need be, or empty.

  Args:
    source: what to test on.
    batch_size: examples a batch of this process.
    transform: the encoded photograph to arrays of fixed shapes, such as `views.Views`;
      it must pickle, and raise Unreadable where it cannot.
    workers: processes that decode; None: one a core, 0: none but this.
    process: (p, P): which of P processes of the run this is; it gets the examples p, p + P, ...

  Returns:
    Batches of the transform's arrays [b, ...], with label, index and unreadable int32 [b]: see
    `examples.Evaluation`.
  """
  number, processes = process
  step = batch_size * processes

  def request(batch: int) -> list[int]:
    return list(range(batch * step + number, min((batch + 1) * step, len(source)), processes))

  requests = grain.MapDataset.range(-(-len(source) // step)).map(request)
  return Batches(requests, examples.Evaluation(source, transform), workers)


def _cores() -> int:
  known = hasattr(os, "sched_getaffinity")  # not on macOS
  return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
