"""The error of a network on a split, every example counted once."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from resnet_jax import steps

BATCH = 512


class Evaluation(NamedTuple):
  """Of a whole split: the error in percent, the mean loss, the class predicted for each example."""

  error: float
  loss: float
  predictions: np.ndarray


def evaluate(
  task: steps.Task, variables, examples: steps.Examples, interrupted: Callable = lambda: None
) -> Evaluation | None:
  """Counts every example of a split exactly once; None where `interrupted()` came true."""
  total = len(examples.labels)
  devices = jax.device_count()
  batch = math.ceil(min(total, BATCH) / devices) * devices
  predictions, losses = [], []
  for first in range(0, total, batch):
    if interrupted():
      return None
    chosen = np.minimum(np.arange(first, first + batch), total - 1)  # what is beyond is cut below
    predicted, loss = _eval_step(task, variables, examples, chosen)
    predictions.append(np.asarray(predicted))
    losses.append(np.asarray(loss, np.float64))
  predicted, loss = np.concatenate(predictions)[:total], np.concatenate(losses)[:total]
  wrong = int(np.sum(predicted != np.asarray(examples.labels)))
  return Evaluation(100 * wrong / total, float(loss.mean()), predicted)


_eval_step = jax.jit(steps.eval_step, static_argnums=0)
