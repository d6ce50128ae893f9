"""The test error of a run, or of an ensemble of runs: --mode=eval."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from resnet_jax import api, evaluation, feed, mesh, paper, peers, precise_bn, results
from resnet_jax import setup as setup_lib
from resnet_jax.errors import UserError


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
    UserError: a run cannot be loaded, or has other classes or another test set than the first.
  """
  if predictions and not os.access(pathlib.Path(predictions).parent, os.W_OK):
    raise UserError(f"--predictions={predictions} cannot be written: name a folder that can")
  test.check()
  scores, steps = None, []
  for directory in directories:
    own = api.own_config(directory, config)
    setup = setup_lib.setup(own if config is None else api.fitting(own, config))
    if scores is None:
      first, classes = setup, setup.task.model.classes
      scores = evaluation.Scores(setup.dataset.test_examples, classes)
    if (own_test := _tested(setup)) != _tested(first):
      raise UserError(f"{directory} is tested on {own_test}, {directories[0]} on {_tested(first)}")
    steps.append(_score(scores, own, directory, checkpoint, setup, test))
  assert scores is not None
  found = evaluation.summarize(scores)
  if not peers.first():
    return found
  _print(found, steps)
  if len(directories) == 1:
    print(*published(first.config, len(first.dataset.info.classes)), sep="", end="")
  if predictions:
    try:
      results.write_predictions(
        pathlib.Path(predictions), found.predictions, found.labels, steps[0]
      )
    except OSError as error:
      raise UserError(f"--predictions={predictions} cannot be written: {error.strerror}") from None
  return found


def _tested(setup: setup_lib.Setup) -> str:
  """What must be alike for scores to be added."""
  info, examples = setup.dataset.info, setup.dataset.test_examples
  return f"{examples} examples of {len(info.classes)} classes of {info.name}"


def _score(
  scores: evaluation.Scores, own, directory, checkpoint: str, setup: setup_lib.Setup, test: Test
) -> int:
  """Adds what one run thinks; returns its step."""
  _, _, state, position = api.restore(directory, checkpoint, setup.config)
  api.refuse_other_data(own, setup.config, setup.dataset, position["data"])
  variables = state.variables
  if test.precise_bn:
    batches = feed.build(setup).batches()
    everywhere = mesh.place(variables, setup.replicated)
    variables = mesh.local(precise_bn.recompute(setup.task, everywhere, batches, test.precise_bn))
  here = setup.own()
  evaluation.add(scores, here.task, variables, evaluation.groups(here, test.view))
  return position["step"]


def published(config, classes: int) -> list[str]:
  """What is published of the same net on the same data, a line each."""
  data = "imagenet" if classes == 1000 else config.data.name
  lines = []
  for entry in paper.find(config.model, data):
    if entry.data == data:
      top5 = "" if entry.top5 is None else f", top-5 {entry.top5:g} %"
      lines.append(f"  {entry.source}, {entry.measured_on}: {entry.text} %{top5}\n")
  return lines


def _print(found: evaluation.Evaluation, steps: list[int]) -> None:
  examples = len(found.labels)
  print(
    f"step {', '.join(map(str, steps))}: test error {found.error:.2f} % "
    f"({round(found.error * examples / 100)} of {examples}), top-5 {found.top5_error:.2f} %, loss "
    f"{found.loss:.4f}"
  )
