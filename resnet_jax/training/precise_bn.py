"""BN statistics computed anew over training data, as before the tests of the authors' release.

Training keeps moving averages of statistics that were right for earlier weights; [T] "make sure
your BN is in a correct mode".
"""

import itertools
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from resnet_jax.data.batch import Batch
from resnet_jax.distributed import mesh
from resnet_jax.training import steps


def recompute(
  learner: steps.Learner, variables, batches: Iterable[Batch], count: int
) -> dict[str, Any]:
  """`variables` with the mean and the variance of every BN over `count` training batches.

  The variance is that of all their examples together: the mean of the batches' variances and the
  variance of their means.
  """
  statistics = jax.jit(
    lambda *given: steps.batch_statistics(learner, *given), out_shardings=learner.replicated
  )
  totals: dict[Any, np.ndarray] = {}
  for batch in itertools.islice(batches, count):
    found = traverse_util.flatten_dict(jax.device_get(statistics(variables, batch)))
    for path, value in found.items():
      square = np.square(found[*path[:-1], "mean"], dtype=np.float64) if path[-1] == "var" else 0
      totals[path] = totals.get(path, 0) + (value + square) / count
  for path in totals:
    if path[-1] == "var":
      totals[path] = totals[path] - np.square(totals[*path[:-1], "mean"])

  def cast(old, value):
    return mesh.place(value.astype(old.dtype), old.sharding)

  new = jax.tree.map(cast, variables["batch_stats"], traverse_util.unflatten_dict(totals))
  return {**variables, "batch_stats": new}
