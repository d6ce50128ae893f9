"""The test error of a run, or of an ensemble of runs: --mode=eval.

A network's outputs are matched with the classes of the test set by name, whatever their order.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax import api, paper
from resnet_jax.data import classes
from resnet_jax.distributed import mesh, processes
from resnet_jax.errors import UserError
from resnet_jax.runs import results, workdir
from resnet_jax.runs.headline import ERROR, in_words
from resnet_jax.runs.progress import say
from resnet_jax.training import evaluation, feed, precise_bn
from resnet_jax.training import setup as setup_lib


@dataclasses.dataclass(frozen=True)
class Test:
  """How runs are tested: the views of each example, and what BN's statistics are taken from."""

  view: str = "single"
  precise_bn: int = 0  # training batches; 0: the statistics that training left

  def check(self) -> None:
    """Raises a UserError for a test that there is not."""
    if self.view != "single":
      from resnet_jax.data.photos import views

      views.check(self.view)
    if self.precise_bn < 0:
      raise UserError(f"--precise_bn={self.precise_bn} must be 0 or more batches")


def evaluate(
  config,
  directories: Sequence[str | os.PathLike],
  checkpoint: str = "last",
  predictions: str | None = None,
  test: Test = Test(),
) -> evaluation.Evaluation:
  """Prints the test error of the runs, whose probabilities are averaged.

  Args:
    config: a --config of the same net, or None for each run's own.
    directories: the runs' workdirs.
    checkpoint: last, best or a step.
    predictions: an .npz file for the class predicted for every example, and the right one.
    test: how.

  Raises:
    UserError: a run cannot be loaded, is trained on other classes than those of the test set, or
      has another test set than the first; or nothing of the test set can be read.
  """
  if predictions and not os.access(pathlib.Path(predictions).parent, os.W_OK):
    raise UserError(f"--predictions={predictions} cannot be written: name a folder that can")
  test.check()
  runs = [_open(directory, checkpoint, config) for directory in directories]
  first = setup_lib.setup(runs[0].config)
  for run in runs[1:]:
    _restore(run, first)  # what is wrong with one is found before any is tested
  tally = evaluation.Tally(first.learner.task, first.dataset.test)
  steps, told = list[int](), set[str]()
  for run in runs:
    setup = setup_lib.setup(run.config) if steps else first
    _tell(setup.dataset.notes, told)
    if (own_test := _tested(setup)) != _tested(first):
      raise UserError(
        f"{run.directory} is tested on {own_test}, {directories[0]} on {_tested(first)}"
      )
    steps.append(_add(tally, run, setup, first, test))
  found = tally.evaluation()
  evaluation.check_read(found, first)
  if not processes.first():
    return found
  metrics = in_words(first.learner.task.metrics, found.metrics, found.examples)
  print(f"step {', '.join(map(str, steps))}: test {metrics}")
  if len(directories) == 1 and first.learner.task.headline == ERROR:
    print(*published(first.config, len(first.dataset.info.classes)), sep="", end="")
  if predictions:
    _save(pathlib.Path(predictions), found, steps[0])
  return found


def _save(path: pathlib.Path, found: evaluation.Evaluation, step: int) -> None:
  try:
    results.write_predictions(path, found.kept, step)
  except OSError as error:
    raise UserError(f"--predictions={path} cannot be written: {error.strerror}") from None


class _Run(NamedTuple):
  """A run to be tested: its own config, and the one that it is tested with."""

  directory: str | os.PathLike
  checkpoint: str
  own: Any
  config: Any


def _open(directory: str | os.PathLike, checkpoint: str, config) -> _Run:
  own = api.own_config(directory, config)
  return _Run(directory, checkpoint, own, own if config is None else api.fitting(own, config))


def _restore(run: _Run, first: setup_lib.Setup) -> tuple[Any, dict[str, Any], classes.Order]:
  """A run's variables and position, and its outputs in the order of the `first` run's test set.

  Raises:
    UserError: it cannot be restored, or is trained on other classes.
  """
  _, learner, state, position = api.restore(run.directory, run.checkpoint, run.config)
  names, outputs = workdir.class_names(run.directory, position), learner.model.classes
  order = classes.order(str(run.directory), names, outputs, *_test_set(first))
  return state.variables, position, order


def _tell(notes: Sequence[str], told: set[str]) -> None:
  """Prints what is to be said of a data set, once though several runs are tested on it."""
  for note in notes:
    if note not in told and processes.first():
      say(note)
    told.add(note)


def _tested(setup: setup_lib.Setup) -> str:
  """What must be alike for scores to be added."""
  info, examples = setup.dataset.info, setup.dataset.test_examples
  return f"{examples} examples of {len(info.classes)} classes of {info.name}"


def _add(
  tally: evaluation.Tally, run: _Run, setup: setup_lib.Setup, first: setup_lib.Setup, test: Test
) -> int:
  """Adds what one run makes of the test set, with the classes in the order of the `first` run's;
  returns its step.
  """
  variables, position, order = _restore(run, first)
  api.refuse_other_data(run.own, setup.config, setup.dataset, position["data"])
  if order.assumed and processes.first():
    say(order.assumed)
  if test.precise_bn:
    batches = feed.build(setup).batches()
    everywhere = mesh.place(variables, setup.replicated)
    variables = mesh.local(
      precise_bn.recompute(setup.learner, everywhere, batches, test.precise_bn)
    )
  here = setup.own()
  groups = _numbered(evaluation.groups(here, test.view), setup, first)
  same = np.array_equal(order.columns, np.arange(len(order.columns)))
  tally.add(here.learner, variables, groups, columns=None if same else order.columns)
  return position["step"]


def _test_set(setup: setup_lib.Setup) -> tuple[str, tuple[str, ...]]:
  """What a message calls a test set, and its classes."""
  config = setup.config.data
  place = f" in {config.dir}" if config.dir else ""
  return f"the test set {config.name!r}{place}", setup.dataset.info.classes


def _numbered(
  groups: Iterator[evaluation.Group], setup: setup_lib.Setup, first: setup_lib.Setup
) -> Iterator[evaluation.Group]:
  """Groups of the data set of `setup`, their labels as the `first` run's numbers the classes."""
  places = classes.matched(*_test_set(first), *_test_set(setup))
  if np.array_equal(places, np.arange(len(places))):
    yield from groups
    return
  for group in groups:
    labels = np.where(group.targets < 0, group.targets, places[group.targets])  # -1: not known
    yield group._replace(targets=labels.astype(np.int32))


def published(config, classes: int) -> list[str]:
  """What is published of the same net on the same data, a line each."""
  data = "imagenet" if classes == 1000 else config.data.name
  lines = []
  for entry in paper.find(config.model, data):
    if entry.data == data:
      top5 = "" if entry.top5 is None else f", top-5 {entry.top5:g} %"
      lines.append(f"  {entry.source}, {entry.measured_on}: {entry.text} %{top5}\n")
  return lines


if __name__ == "__main__":
  from resnet_jax.__main__ import refer

  refer("--mode=eval")
