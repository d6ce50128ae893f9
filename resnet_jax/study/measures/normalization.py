"""BN in the right mode and in wrong ones ([B]; [T] "make sure your BN is in a correct mode").

Training normalizes by the batch's mean and variance, testing by pre-computed ones: running
averages, or statistics recomputed over training batches.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import linen as nn
from flax import traverse_util

from resnet_jax.models import by_unit
from resnet_jax.models.layers import BatchNorm, written
from resnet_jax.runs import metrics
from resnet_jax.study.net import Net
from resnet_jax.study.words import require_classification, require_units, requires, study
from resnet_jax.training import evaluation, feed, precise_bn
from resnet_jax.training.evaluation import Group

Tree = Any
# Whether a test batch is ordered by class, and which statistics are its own.
MODES = {
  "wrong": (False, ("mean", "var")),
  "alike": (True, ("mean", "var")),
  "alike_mean": (True, ("mean",)),
  "alike_var": (True, ("var",)),
}


@study("normalization")
@requires(require_units, require_classification)
def normalization(
  net: Net, sizes: Sequence[int] = (1, 2, 4, 16, 64), counts: Sequence[int] = (1, 4, 16, 64)
) -> Iterator[dict[str, Any]]:
  """Costs are test errors in percent above that of the running averages.

  - `right`: the test error with running averages, in percent; `initial`: the cost of the statistics
    that a net begins with, mean 0 and variance 1
  - `batch`: images in a test batch; `wrong`, `alike`: what it costs to normalize by its statistics,
    with images in random order, or those of a class together; `alike_mean`, `alike_var`: the latter
    of the batch's mean or variance only
  - `images`, `recomputed`: images of training batches, and the cost of statistics recomputed there
  - `unit`, `mean_off`, `deviation_off`: see `distances`; of the running averages from the
    statistics over the most training batches. Unit 0 is the stem
  - `epoch`, `test`: the test error in percent while a net trained

  Args:
    net: which classifies.
    sizes: of test batches; the whole evaluation batch, 512 images at most, is one more.
    counts: of training batches of `net.examples` images.
  """
  right = net.test(net.variables)["error"]
  initial = net.test(net.variables | {"batch_stats": beginning(net.variables["batch_stats"])})
  yield {"right": right, "initial": initial["error"] - right}
  for size in (*sizes, evaluation.BATCH):
    yield {"batch": min(size, len(net.tested.images))} | {
      name: wrong_mode(net, regroup(net, size, alike), of) - right
      for name, (alike, of) in MODES.items()
    }
  for count in counts:
    over = recomputed(net, count)
    yield {"images": count * net.examples, "recomputed": net.test(over)["error"] - right}
  for unit, row in distances(net, net.variables["batch_stats"], over["batch_stats"]).items():
    yield {"unit": unit, **row}
  for row in metrics.read_rows(net.folder) if net.folder else ():
    if row["split"] == "test":
      yield {"epoch": row["epoch"], "test": row["error"]}


@dataclasses.dataclass(frozen=True)
class ByBatch:
  """A network whose BN is in the wrong mode: it evaluates by statistics of the batch.

  Attributes:
    model: the network.
    of: which of its statistics are the batch's; the others are the pre-computed ones.
  """

  model: Any
  of: tuple[str, ...] = ("mean", "var")

  def apply(self, variables: Tree, images: jax.Array) -> Any:
    """What the network makes of images [N, H, W, C]."""
    with nn.intercept_methods(self._intercept):
      return self.model.apply(variables, images)

  def _intercept(self, following: Any, given: Any, named: Any, context: Any) -> Any:
    """Has a BN, which is in evaluation mode, normalize its input as by the batch's statistics."""
    bn = context.module
    if not isinstance(bn, BatchNorm) or context.method_name != "__call__":
      return following(*given, **named)
    x = written(*given)
    before: dict[str, jax.Array] = {
      name: bn.get_variable("batch_stats", name) for name in ("mean", "var")
    }
    now = before | {name: getattr(jnp, name)(x, (0, 1, 2)) for name in self.of}
    factor = jnp.sqrt((before["var"] + bn.epsilon) / (now["var"] + bn.epsilon))
    return following((x - now["mean"]) * factor + before["mean"])


def wrong_mode(net: Net, groups: Iterator[Group], of: tuple[str, ...] = ("mean", "var")) -> float:
  """The test error in percent where every group is normalized by its own statistics."""
  here = net.setup.own()
  by_batch: Any = ByBatch(here.learner.model, of)
  # A group may have fewer images than there are devices.
  learner = dataclasses.replace(here.learner, model=by_batch, batch_sharding=None)
  found = evaluation.evaluate(here._replace(learner=learner), net.variables, groups)
  assert found is not None
  return found.metrics["error"]


def regroup(net: Net, size: int, alike: bool) -> Iterator[Group]:
  """The test images in groups of `size`, the last as many as are left: in random order within an
  evaluation batch, or by class if `alike`.
  """
  for number, group in enumerate(evaluation.groups(net.setup.own())):
    shuffled = jax.random.permutation(jax.random.fold_in(net.key, number), len(group.numbers))
    order = np.argsort(group.targets, kind="stable") if alike else np.asarray(shuffled)
    for first in range(0, len(order), size):
      at = order[first : first + size]
      batch = group.batch.replace(
        images=group.batch.images[at], targets=group.batch.targets[at], valid=None
      )
      yield Group(batch, group.numbers[at], group.targets[at])


def recomputed(net: Net, count: int) -> dict[str, Any]:
  """The variables with the statistics of the first `count` training batches.

  Each batch is one group: the variance over several lacks what lies between their means.
  """
  config = ml_collections.ConfigDict(net.learner.model.config.to_dict())
  config.norm.group_size = 0
  model = net.learner.model.clone(config=ml_collections.FrozenConfigDict(config))
  learner = dataclasses.replace(net.learner, model=model)
  batches = feed.build(net.setup).batches()
  found = precise_bn.recompute(learner, net.variables, batches, count)
  batches.close()  # photographs are read by processes
  return found


def beginning(statistics: Tree) -> Tree:
  """The statistics that a net begins with: mean 0, variance 1."""
  return traverse_util.path_aware_map(
    lambda path, value: jnp.full_like(value, path[-1] == "var"), statistics
  )


def distances(net: Net, running: Tree, right: Tree) -> dict[int, dict[str, float]]:
  """How far running statistics are from the right ones, over all BN channels of each unit.

  Returns:
    for each unit that has a BN, from 1 on, and the stem as 0: `mean_off`, the root mean square of
    the difference of means over the right deviation; `deviation_off`, by how many percent the
    running deviation is larger, a geometric mean.
  """
  model = net.config.model
  units = [[tree.get("stem", {}), *by_unit(model, tree)] for tree in (running, right)]
  rows = {}
  for number, pair in enumerate(zip(*units, strict=True)):
    # Of each tree the channels of all its BN: {"mean": [C], "var": [C]}.
    old, new = ({name: channels(tree, name) for name in ("mean", "var")} for tree in pair)
    if not len(old["var"]):
      continue
    ratio = (old["var"] + model.norm.epsilon) / (new["var"] + model.norm.epsilon)
    off = (old["mean"] - new["mean"]) / np.sqrt(new["var"] + model.norm.epsilon)
    rows[number] = {
      "mean_off": float(np.sqrt(np.mean(np.square(off)))),
      "deviation_off": float(100 * np.expm1(np.mean(np.log(ratio)) / 2)),
    }
  return rows


def channels(tree: Tree, name: str) -> np.ndarray:
  """The values of that name in a tree, one after another, in float64: [C]."""
  found = traverse_util.flatten_dict(jax.device_get(tree))
  values = [value for path, value in found.items() if path[-1] == name]
  return np.concatenate([np.zeros(0), *values])
