"""A network on a split, every example counted once, over one view of it or several."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from resnet_jax.data.batch import Batch, Examples, take
from resnet_jax.data.dataset import examples_of, mapped
from resnet_jax.distributed import processes
from resnet_jax.errors import UserError
from resnet_jax.runs.progress import say
from resnet_jax.tasks import Task
from resnet_jax.training import steps
from resnet_jax.training.setup import Setup

BATCH = 512  # images of a split that lies on the devices
NAMED = 3  # images, in an error that is of all of them
READ = 16  # photographs that a worker reads at a time
PIXELS = 2**23  # of photographs in one batch of a device: 167 images of 224x224


class Group(NamedTuple):
  """Images of one shape to be tested together."""

  batch: Batch
  numbers: np.ndarray  # int [n], the split's example that each shows; what follows is padding
  targets: Any  # of these n, on the host


class Evaluation(NamedTuple):
  """What a whole split came to."""

  metrics: dict[str, float]
  kept: dict[str, np.ndarray]  # what predictions.npz keeps
  examples: int
  read: int  # how many of them could be read


class Tally:
  """What networks make of a split, each example of it once, in all processes together."""

  def __init__(self, task: Task, split: Any):
    self._task, self._split = task, split
    self._collector = task.collector(examples_of(split))
    self._seen = np.zeros(examples_of(split), bool)

  def add(
    self,
    learner: steps.Learner,
    variables: Any,
    groups: Iterable[Group],
    interrupted: Callable = lambda: None,
    columns: np.ndarray | None = None,
  ) -> bool:
    """Adds what one network makes of the groups; returns whether it came to their end.

    `columns` are its outputs for the classes of the split, in their order; None: its own.
    """
    for group in groups:
      if interrupted():
        return False
      entries = jax.device_get(_eval_step(learner, columns, variables, group.batch))
      self._collector.add(entries, group.numbers, group.targets)
      self._seen[group.numbers] = True
    return True

  def evaluation(self) -> Evaluation:
    """What all that was added comes to; called by all processes."""
    entries = self._collector.gather()
    read = int(processes.gather(self._seen).any(0).sum())
    if not read:
      return Evaluation({}, {}, len(self._seen), read)
    metrics = self._task.score(entries, getattr(self._split, "truth", None))
    return Evaluation(metrics, self._task.kept(entries), len(self._seen), read)


def evaluate(
  run: Setup, variables: Any, groups: Iterable[Group], interrupted: Callable = lambda: None
) -> Evaluation | None:
  """Of one network on the test split; None where `interrupted()` came true in any process."""
  tally = Tally(run.learner.task, run.dataset.test)
  whole = tally.add(run.learner, variables, groups, interrupted)
  return tally.evaluation() if processes.gather(np.asarray(whole)).all() else None


def check_read(found: Evaluation, run: Setup) -> None:
  """Raises a UserError where no example of the test split could be read."""
  if found.read:
    return
  names = [run.dataset.test.name(number) for number in range(min(NAMED, found.examples))]
  more = f" and {found.examples - NAMED} more" if found.examples > NAMED else ""
  raise UserError(
    f"config.data.test_split={run.config.data.test_split!r}: none of its {found.examples} images "
    f"can be read ({', '.join(names)}{more}); restore them, or name where they are with "
    "config.data.dir"
  )


def resident(examples: Examples, targets: Any) -> Iterator[Group]:
  """This process's share of a split that lies on its devices, in batches.

  Args:
    examples: the split.
    targets: its targets on the host.
  """
  total, devices = len(examples.images), jax.local_device_count()
  batch = math.ceil(min(total / jax.process_count(), BATCH) / devices) * devices
  # A process without a share has a batch of padding, so that all know what a batch comes to.
  begin = jax.process_index() * batch
  for first in range(begin, max(total, begin + 1), jax.process_count() * batch):
    chosen = np.arange(first, first + batch)
    numbers = chosen[chosen < total]
    own = take(examples, np.minimum(chosen, total - 1), chosen < total)
    yield Group(own, numbers, mapped(operator.itemgetter(numbers), targets))


def groups(run: Setup, test: str = "single", warn: Callable = say) -> Iterator[Group]:
  """The test split in batches of images of one shape, each view of each example once.

  Args:
    run: whose split, and where it lies: on this process's devices, which tests its share.
    test: one of the papers' tests of photographs, see `data.photos.views`.
    warn: is told of files that cannot be read.

  Raises:
    UserError: there is no such test, or not of these images.
  """
  if not isinstance(run.test, Examples):
    return _streamed(run, test, warn)
  if test != "single":
    raise UserError(
      f"--test={test} is for photographs; the images of {run.config.data.name} are of one size"
    )
  return resident(run.test, run.dataset.test.targets)


def _streamed(run: Setup, test: str, warn: Callable) -> Iterator[Group]:
  from resnet_jax.data.photos import pipeline, views

  views.check(test)
  config, alike = run.config.data, test != "multi-scale"  # the views of one photograph to another's
  waiting: dict[tuple[int, ...], list] = {}  # by the shape of their images
  compiled = set[tuple[int, ...]]()
  with pipeline.evaluation(
    run.test,
    batch_size=READ if alike else 1,
    transform=views.Views(test, config.image_size),
    workers=config.workers,
    process=(jax.process_index(), jax.process_count()),
  ) as photographs:
    for number, label, images in _rows(photographs):
      if images is None:
        warn(f"{run.test.name(number)} cannot be read and counts as an error")
      for image in images or ():
        bucket = waiting.setdefault(image.shape, [])
        bucket.append((number, label, image))
        if len(bucket) == _most(image.shape):
          compiled.add(image.shape)
          yield _group(run, image.shape, waiting.pop(image.shape), len(bucket))
  if jax.process_count() > 1 and not waiting and not compiled:
    # A batch of padding, so that all processes know what a batch comes to.
    waiting[config.image_size, config.image_size, 3] = []
  for shape, bucket in waiting.items():
    # Padded to what is compiled already; else to the next power of two, as some shapes are rare.
    devices = jax.local_device_count()
    size = devices * 2 ** max(0, math.ceil(math.log2(max(len(bucket), 1) / devices)))
    yield _group(run, shape, bucket, _most(shape) if shape in compiled else size)


def _rows(batches: Iterable[dict[str, np.ndarray]]) -> Iterator[tuple[int, int, list | None]]:
  """Number, label and views of each example; None in place of what could not be read."""
  for batch in batches:
    numbers, labels, unreadable = (batch.pop(key) for key in ("index", "label", "unreadable"))
    for row, number in enumerate(numbers):
      read = unreadable[row] < 0
      yield number, labels[row], [view[row] for view in batch.values()] if read else None


def _most(shape: tuple[int, ...]) -> int:
  """How many images of [H, W, 3] are classified at a time: a multiple of the devices."""
  return jax.local_device_count() * max(1, PIXELS // math.prod(shape[:2]))


def _group(run: Setup, shape: tuple[int, ...], bucket: list, size: int) -> Group:
  """A bucket of images of [H, W, 3] as a batch of `size`."""
  images = np.zeros((size, *shape), np.uint8)
  labels = np.full(size, -1, np.int32)
  for row, (_, label, image) in enumerate(bucket):
    images[row], labels[row] = image, label
  numbers = np.asarray([number for number, _, _ in bucket], int)
  valid = np.arange(size) < len(bucket)
  return Group(run.on_devices(images, labels, valid), numbers, labels[: len(bucket)])


_eval_step: Any = jax.jit(steps.eval_step, static_argnums=0)
