"""How well nets of several depths are trained ([R] 4.1, figures 1 and 6).

Deeper plain nets have the higher error on the very images that they train on. That is no
overfitting; residual nets of the same depths do not have it.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import ml_collections

from resnet_jax.errors import UserError
from resnet_jax.runs import metrics
from resnet_jax.study.net import Net
from resnet_jax.study.words import require_classification, requires, study


@study("degradation")
@requires(require_classification)
def degradation(net: Net) -> Iterator[dict[str, Any]]:
  """A row for the run, errors in percent.

  - `depth`: of the net, in layers
  - `training`, `training_loss`: error and loss over the last steps, in training mode, as a run's
    curve ends
  - `train`, `train_loss`: error and loss of the whole training set, in evaluation mode
  - `test`, `test_loss`: those of the test set
  """
  if net.folder is None:
    raise UserError("degradation measures runs; set trained=True in the study, or give --run")
  steps = [row for row in metrics.read_rows(net.folder) if row["split"] == "train"]
  train, test = tested_on_training_set(net), net.test(net.variables)
  yield {
    "depth": net.config.model.depth,
    "training": steps[-1]["error"],
    "training_loss": steps[-1]["loss"],
    "train": train["error"],
    "train_loss": train["loss"],
    "test": test["error"],
    "test_loss": test["loss"],
  }


def tested_on_training_set(net: Net) -> dict[str, float]:
  """The metrics of the training split, by name, not augmented and in evaluation mode."""
  config = ml_collections.ConfigDict(net.config.to_dict())
  config.data.test_split = config.data.train_split
  return dataclasses.replace(net, config=config).test(net.variables)
