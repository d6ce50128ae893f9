"""Runs as objects, for a notebook: load one, apply it, evaluate it."""

import os
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import evaluation as evaluation_lib
from resnet_jax import metrics, results, train, workdir
from resnet_jax.checkpoint import Checkpoints
from resnet_jax.data import augment
from resnet_jax.errors import UserError
from resnet_jax.models import ResNet


class Run(NamedTuple):
  """A trained network: `run(images)` gives logits."""

  config: Any
  model: ResNet
  variables: dict[str, Any]  # params and batch_stats, for model.apply
  step: int
  setup: train.Setup

  def __call__(self, images) -> Any:
    """uint8 images [N, H, W, C], as the data set has them -> logits [N, classes]."""
    test = self.setup.test
    if images.dtype != np.uint8:
      raise UserError(f"images of type {images.dtype}; give uint8, 0 to 255, as load_data does")
    images = augment.normalize(jnp.asarray(images), test.mean, test.scale, self.setup.task.dtype)
    return self.model.apply(self.variables, images)


def load_run(directory: str | os.PathLike, checkpoint: str | int = "last", config=None) -> Run:
  """The network that the run in `directory` has trained; nothing there is written.

  Args:
    directory: the run's workdir.
    checkpoint: last, best or a step.
    config: the run's own where None.

  Raises:
    UserError: there is no run, or no such checkpoint that is whole, or `config` is of another net
      or training set.
  """
  path, checkpoint = pathlib.Path(directory), str(checkpoint)
  own = workdir.read_config(path)
  if own is None:
    raise UserError(f"--workdir={path} holds no run")
  if config is not None:
    config_lib.check(config)
    workdir.refuse_other_network(own, config)
  setup = train.setup(own if config is None else config)
  checkpoints = Checkpoints(path, lambda text: print(f"warning: {text}"))
  if checkpoint not in ("last", "best") and not checkpoint.isdecimal():
    raise UserError(f"--checkpoint={checkpoint!r} is unknown; write last, best or a step")
  step = int(checkpoint) if checkpoint.isdecimal() else None
  if checkpoint == "best":
    step = _best_step(path, checkpoints.steps())
  restored = checkpoints.restore(setup.template, step)
  if not restored:
    there = ", ".join(map(str, checkpoints.steps())) or "none"
    raise UserError(f"{path} has no whole checkpoint {checkpoint!r}; there are: {there}")
  state, position = restored
  if setup.config.data.test_split == own.data.test_split:
    workdir.refuse_other_data(own, setup.dataset, position["data"])
  return Run(setup.config, setup.task.model, state.variables, position["step"], setup)


def _best_step(path: pathlib.Path, kept: list[int]) -> int:
  """The first of the kept checkpoints with the least test error."""
  tested = [row for row in metrics.read_rows(path) if row["split"] == "test"]
  errors = {row["step"]: row["error"] for row in tested if row["step"] in kept}
  if not errors:
    raise UserError(f"{path} was never evaluated: no checkpoint is the best; take last")
  return min(errors, key=errors.__getitem__)


def evaluate(config, directory, checkpoint: str = "last", predictions: str | None = None):
  """Prints a run's test error; saves predictions and labels for every example where asked to."""
  if predictions and not os.access(pathlib.Path(predictions).parent, os.W_OK):
    raise UserError(f"--predictions={predictions} cannot be written: name a folder that can")
  run = load_run(directory, checkpoint, config)
  evaluation = evaluation_lib.evaluate(run.setup.task, run.variables, run.setup.test)
  assert evaluation is not None
  labels = run.setup.dataset.test.labels
  wrong = int(np.sum(evaluation.predictions != labels))
  print(
    f"step {run.step}: test error {evaluation.error:.2f} % ({wrong} of {len(labels)}), "
    f"loss {evaluation.loss:.4f}"
  )
  if predictions:
    try:
      path = pathlib.Path(predictions)
      results.write_predictions(path, evaluation.predictions, labels, run.step)
    except OSError as error:
      raise UserError(f"--predictions={predictions} cannot be written: {error.strerror}") from None
  return evaluation
