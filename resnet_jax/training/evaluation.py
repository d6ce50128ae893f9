"""The error of a network on a split, every example counted once, over one view of it or several."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from resnet_jax.distributed import processes
from resnet_jax.errors import UserError
from resnet_jax.runs.progress import say
from resnet_jax.training import steps
from resnet_jax.training.setup import Setup

BATCH = 512  # images of a split that lies on the devices
NAMED = 3  # images, in an error that is of all of them
READ = 16  # photographs that a worker reads at a time
PIXELS = 2**23  # of photographs in one batch of a device: 167 images of 224x224


class Group(NamedTuple):
  """Images of one shape to be classified together."""

  examples: steps.Examples
  chosen: np.ndarray | None  # of the examples; all where None
  numbers: np.ndarray  # int [n], the split's example that each shows; what follows is padding
  labels: np.ndarray  # int32 [n]


class Scores:
  """What networks think of every example of a split, summed over views and networks.

  The probabilities are averaged, as in the papers' 10-crop and multi-scale tests.
  """

  def __init__(self, examples: int, classes: int):
    self.log_sum = np.full((examples, classes), -np.inf)
    self.views = np.zeros(examples, int)
    self.labels = np.full(examples, -1, np.int32)

  def add(self, logits: np.ndarray, group: Group) -> None:
    """Adds the logits, [n or more, classes], of a group.

    Raises:
      UserError: an example has another label than it had before.
    """
    known = self.labels[group.numbers]
    if (other := (known >= 0) & (known != group.labels)).any():
      raise UserError(
        f"test example {group.numbers[other.argmax()]} is of another class for one run than for "
        "the runs before it: their test sets differ; name one for all with --config"
      )
    logits = np.asarray(logits[: len(group.numbers)], np.float64)
    top = logits.max(1, keepdims=True)
    log = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    np.logaddexp.at(self.log_sum, group.numbers, log)
    np.add.at(self.views, group.numbers, 1)
    self.labels[group.numbers] = group.labels


class Evaluation(NamedTuple):
  """Of a whole split: errors in percent, the mean loss, and for each example the class predicted
  (-1: it could not be read, which counts as an error) and the right one.
  """

  error: float
  top5_error: float
  loss: float
  predictions: np.ndarray
  labels: np.ndarray


def summarize(scores: Scores) -> Evaluation:
  """The errors that the scores of all processes come to, of which each tested other examples."""
  rows = np.arange(len(scores.labels))
  right = scores.log_sum[rows, np.maximum(scores.labels, 0)]
  above = (scores.log_sum > right[:, None]).sum(1)  # classes that score more than the right one
  losses = np.log(np.maximum(scores.views, 1)) - right
  mine = np.stack([scores.log_sum.argmax(1), above, losses, scores.labels])
  mine[:, scores.views == 0] = -np.inf  # not read, or another's
  predictions, above, losses, labels = processes.gather(mine).max(0)
  read = np.isfinite(predictions)
  return Evaluation(
    error=_percent(~read | (predictions != labels)),
    top5_error=_percent(~read | ~(above < 5)),
    loss=float(losses[read].mean()) if read.any() else math.nan,
    predictions=np.where(read, predictions, -1).astype(np.int32),
    labels=np.where(read, labels, -1).astype(np.int32),
  )


def check_read(found: Evaluation, run: Setup) -> None:
  """Raises a UserError where no example of the test split could be read."""
  if (found.predictions >= 0).any():
    return
  data, count = run.config.data, len(found.predictions)
  names = [run.dataset.test.name(number) for number in range(min(NAMED, count))]
  more = f" and {count - NAMED} more" if count > NAMED else ""
  raise UserError(
    f"config.data.test_split={data.test_split!r}: none of its {count} images can be read "
    f"({', '.join(names)}{more}); restore them, or name where they are with config.data.dir"
  )


def _percent(wrong: np.ndarray) -> float:
  return 100 * int(wrong.sum()) / len(wrong)


def evaluate(
  task: steps.Task,
  variables,
  groups: Iterable[Group],
  examples: int,
  interrupted: Callable = lambda: None,
) -> Evaluation | None:
  """Of one network; None where `interrupted()` came true, in all processes if in one."""
  scores = Scores(examples, task.model.classes)
  whole = add(scores, task, variables, groups, interrupted)
  return summarize(scores) if processes.gather(np.asarray(whole)).all() else None


def add(
  scores: Scores,
  task,
  variables,
  groups,
  interrupted: Callable = lambda: None,
  columns: Any = slice(None),
) -> bool:
  """Adds what one network thinks of the groups; whether it came to their end.

  `columns` are its outputs for the classes of the scores, in their order.
  """
  for group in groups:
    if interrupted():
      return False
    logits = np.asarray(_eval_step(task, variables, group.examples, group.chosen))
    scores.add(logits[:, columns], group)
  return True


def resident(examples: steps.Examples, labels: np.ndarray) -> Iterator[Group]:
  """This process's share of a split that lies on its devices, `labels` on the host, in batches."""
  total, devices, processes = len(labels), jax.local_device_count(), jax.process_count()
  batch = math.ceil(min(total / processes, BATCH) / devices) * devices
  for first in range(jax.process_index() * batch, total, processes * batch):
    chosen = np.arange(first, first + batch)
    numbers = chosen[chosen < total]
    yield Group(examples, np.minimum(chosen, total - 1), numbers, labels[numbers])


def groups(run: Setup, test: str = "single", warn: Callable = say) -> Iterator[Group]:
  """The test split in batches of images of one shape, each view of each example once.

  Args:
    run: whose split, and where it lies: on this process's devices, which tests its share.
    test: one of the papers' tests of photographs, see `data.photos.views`.
    warn: is told of files that cannot be read.

  Raises:
    UserError: there is no such test, or not of these images.
  """
  if not isinstance(run.test, steps.Examples):
    return _streamed(run, test, warn)
  if test != "single":
    raise UserError(
      f"--test={test} is for photographs; the images of {run.config.data.name} are of one size"
    )
  return resident(run.test, run.dataset.test.labels)


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
          yield _group(run, waiting.pop(image.shape), len(bucket))
  for shape, bucket in waiting.items():
    # Padded to what is compiled already; else to the next power of two, as some shapes are rare.
    devices = jax.local_device_count()
    size = devices * 2 ** max(0, math.ceil(math.log2(len(bucket) / devices)))
    yield _group(run, bucket, _most(shape) if shape in compiled else size)


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


def _group(run: Setup, bucket: list[tuple[int, int, np.ndarray]], size: int) -> Group:
  """A bucket as a batch of `size`."""
  images = np.zeros((size, *bucket[0][2].shape), np.uint8)
  labels = np.zeros(len(bucket), np.int32)
  for row, (_, label, image) in enumerate(bucket):
    images[row], labels[row] = image, label
  numbers = np.asarray([number for number, _, _ in bucket])
  return Group(run.on_devices(images, np.resize(labels, len(images))), None, numbers, labels)


_eval_step: Any = jax.jit(steps.eval_step, static_argnums=0)
