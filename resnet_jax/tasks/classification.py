"""Classification: a label for each image, by cross-entropy; judged by the share of errors."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from resnet_jax.data.batch import Batch
from resnet_jax.data.dataset import Targets
from resnet_jax.distributed import processes
from resnet_jax.errors import UserError
from resnet_jax.registry import Registry
from resnet_jax.runs.headline import ERROR, LOSS, Metric
from resnet_jax.tasks.task import TASKS, Task

LOSSES = Registry("loss", "task.loss")


@LOSSES("cross_entropy")
def cross_entropy(config: Any, logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Of logits [B, classes] and labels int32 [B], for each example: [B]. `config` is config.task."""
  losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return losses


@TASKS("classification")
class Classification(Task):
  """Targets are labels int32 [B], outputs logits [B, classes]."""

  @property
  def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
    """The error, the top-5 error (in rows only of ImageNet's nets, as published), the loss."""
    of_imagenet = self.config.model.family == "imagenet"
    top5 = Metric("top5_error", "top-5", "%", digits=2, logged=of_imagenet)
    return ERROR, top5, LOSS

  def check(self, targets: Targets) -> None:
    """Raises a UserError unless there is one label for each image."""
    if isinstance(targets, dict) or targets.ndim != 1:
      found = list(targets) if isinstance(targets, dict) else f"of shape {list(targets.shape)}"
      raise UserError(
        f"config.data.name={self.info.name!r}: its targets are {found}; config.task.name="
        "'classification' takes a label for each image, [N]"
      )

  def loss(self, outputs: jax.Array, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean of `config.task.loss`, and the error in percent."""
    losses = LOSSES[self.config.task.loss](self.config.task, outputs, batch.targets)
    wrong = jnp.sum(outputs.argmax(-1) != batch.targets, dtype=jnp.int32)
    return losses.mean(), {"error": 100 * wrong}

  def entries(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """The logits; what they come to is computed on the host, in float64."""
    return {"logits": outputs}

  def collector(self, examples: int) -> "Scores":
    """Averages the probabilities over views and networks."""
    return Scores(examples, len(self.info.classes))

  def score(self, entries: dict[str, np.ndarray], truth: Any) -> dict[str, float]:
    """Errors in percent, of which an example that could not be read is one, and the mean loss."""
    predictions, read = entries["predictions"], entries["predictions"] >= 0
    losses = entries["losses"][read]
    return {
      "loss": float(losses.mean()) if len(losses) else math.nan,
      "error": _percent(~read | (predictions != entries["labels"])),
      "top5_error": _percent(~read | ~(entries["above"] < 5)),
    }

  def kept(self, entries: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The classes, predicted and right."""
    return {name: entries[name] for name in ("predictions", "labels")}


class Scores:
  """What networks think of every example of a split, summed over views and networks.

  The probabilities are averaged, as in the papers' 10-crop and multi-scale tests.
  """

  def __init__(self, examples: int, classes: int):
    self.log_sum = np.full((examples, classes), -np.inf)
    self.views = np.zeros(examples, int)
    self.labels = np.full(examples, -1, np.int32)

  def add(self, entries: dict[str, np.ndarray], numbers: np.ndarray, targets: np.ndarray) -> None:
    """Adds the logits of a batch, see `tasks.collect.Collector`.

    Raises:
      UserError: an example has another label than it had before.
    """
    known = self.labels[numbers]
    if (other := (known >= 0) & (known != targets)).any():
      raise UserError(
        f"test example {numbers[other.argmax()]} is of another class for one run than for "
        "the runs before it: their test sets differ; name one for all with --config"
      )
    logits = np.asarray(entries["logits"][: len(numbers)], np.float64)
    top = logits.max(1, keepdims=True)
    log = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    np.logaddexp.at(self.log_sum, numbers, log)
    np.add.at(self.views, numbers, 1)
    self.labels[numbers] = targets

  def gather(self) -> dict[str, np.ndarray]:
    """For each example, [N]: the class predicted and the right one (-1 of one that could not be
    read), how many classes score above the right one, and the loss.
    """
    rows = np.arange(len(self.labels))
    right = self.log_sum[rows, np.maximum(self.labels, 0)]
    above = (self.log_sum > right[:, None]).sum(1)
    losses = np.log(np.maximum(self.views, 1)) - right
    mine = np.stack([self.log_sum.argmax(1), above, losses, self.labels])
    mine[:, self.views == 0] = -np.inf  # not read, or another's
    predictions, above, losses, labels = processes.gather(mine).max(0)
    read = np.isfinite(predictions)
    return {
      "predictions": np.where(read, predictions, -1).astype(np.int32),
      "labels": np.where(read, labels, -1).astype(np.int32),
      "above": above,
      "losses": losses,
    }


def _percent(wrong: np.ndarray) -> float:
  return 100 * int(wrong.sum()) / len(wrong)
