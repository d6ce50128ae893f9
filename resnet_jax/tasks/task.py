"""The interface of a task: what the loop, the evaluation and the reports ask of it.

The loop knows no task by name. A task of one's own is a class in a file of one's own:

    @resnet_jax.task("brightness")
    class Brightness(resnet_jax.Task):
      metrics = (resnet_jax.Metric("square_error"),)

      def head(self):
        return resnet_jax.models.Classifier(1, "msra", name="brightness")

      def loss(self, outputs, batch):
        return ((outputs[:, 0] - batch.targets) ** 2).mean(), {}

      def entries(self, outputs, batch):
        return {"square_error": (outputs[:, 0] - batch.targets) ** 2}
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from resnet_jax.data import Info, augment
from resnet_jax.data.batch import Batch
from resnet_jax.data.dataset import Targets
from resnet_jax.data.targets import LABELS, OnHost
from resnet_jax.models.heads import Classifier
from resnet_jax.models.layers import master_dtype
from resnet_jax.registry import Registry
from resnet_jax.runs.headline import Metric
from resnet_jax.tasks.collect import Collector, PerExample

TASKS = Registry("task", "task.name")


@dataclasses.dataclass(frozen=True)
class Task:
  """What a network is trained for and judged by. All but `collector` and `score` is pure.

  Attributes:
    config: the run's, frozen.
    info: what is known of its data set.
    metrics: what an evaluation gives, the headline first.
    targets: how worker processes treat the targets of photographs.
  """

  config: Any
  info: Info
  metrics: ClassVar[tuple[Metric, ...]]
  targets: ClassVar[OnHost] = LABELS

  @property
  def headline(self) -> Metric:
    """The metric that a run is judged by."""
    return self.metrics[0]

  @property
  def logged(self) -> tuple[Metric, ...]:
    """The metrics that stand in a run's rows."""
    return tuple(metric for metric in self.metrics if metric.logged)

  @property
  def dtype(self) -> Any:
    """The type of the inputs: float32, or float64 where the computation is."""
    return master_dtype(self.config.model.dtype)

  def check(self, targets: Targets) -> None:
    """Raises a UserError for targets of a split in memory that are none of this task."""

  def head(self) -> nn.Module:
    """What the network ends with, see `models.heads`: a classifier, unless the task has another."""
    return Classifier(len(self.info.classes), self.config.model.init, name="classifier")

  def augment(self, key: jax.Array, batch: Batch) -> Batch:
    """The batch as the network trains on it: normalized, jittered, cropped and mirrored.

    Targets stay as they are: a task whose targets have places in the image moves them here.
    """
    data = self.config.data
    colored = data.color_jitter or data.lighting
    color_key, place_key = jax.random.split(key) if colored else (key, key)
    images = jnp.asarray(batch.images, self.dtype) / 255
    images = augment.color(color_key, images, data.color_jitter, data.lighting)
    images = augment.center(images, *batch.normalization)
    images = augment.AUGMENTATIONS[data.augmentation](place_key, images, data)
    return batch.replace(images=images)

  def normalize(self, batch: Batch) -> Batch:
    """The batch as the network is tested on it."""
    images = augment.normalize(batch.images, *batch.normalization, self.dtype)
    return batch.replace(images=images)

  def loss(self, outputs: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a training batch, [], and what else is measured of it.

    Of the latter each is a sum over the examples, []; rows have its mean under its name.
    """
    raise NotImplementedError

  def entries(self, outputs: Any, batch: Batch) -> dict[str, jax.Array]:
    """What an evaluation keeps of a batch, for `collector` to add up.

    With the default collector each is an array [B, ...], of which `score` gets [N, ...].
    """
    raise NotImplementedError

  def collector(self, examples: int) -> Collector:
    """Adds up the entries of a split of so many examples, on the host."""
    return PerExample(examples)

  def score(self, entries: dict[str, np.ndarray], truth: Any) -> dict[str, float]:
    """The metrics by name, of the entries of a whole split; by default the mean of each.

    Args:
      entries: what the collector has gathered of all processes; NaN for an example that could not
        be read.
      truth: the split's `truth`, of what cannot be padded to arrays; None where it has none.
    """
    return {name: float(np.nanmean(values)) for name, values in entries.items()}

  def kept(self, entries: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a run saves of its last evaluation, in predictions.npz.

    Where the headline's value of each example is among it, [N], under the headline's name, reports
    compare runs in pairs. By default it is everything.
    """
    return entries

  def reorder(self, outputs: Any, columns: jax.Array) -> Any:
    """The network's outputs with the classes in the order of `columns`, int [classes]."""
    return outputs[..., columns]
