"""Every example is counted once, whatever the batch and the views, and scores are averaged."""

import numpy as np
import pytest

from resnet_jax.config import load_file
from resnet_jax.training import evaluation, steps
from resnet_jax.training.setup import setup


@pytest.mark.parametrize("batch", [7, 64, 512])
def test_evaluation_counts_every_example_once(monkeypatch, repository, batch):
  monkeypatch.chdir(repository)
  monkeypatch.setattr(evaluation, "BATCH", batch)
  run = setup(load_file("configs/resnet.py:depth=8,digits"))
  state = steps.init(run.learner, run.dataset.info.shape)
  labels = run.dataset.test.targets
  found = evaluation.evaluate(run, state.variables, evaluation.resident(run.test, labels))
  predictions = found.kept["predictions"]
  assert len(predictions) == len(labels) == found.examples == found.read == 360
  assert found.metrics["error"] == 100 * np.sum(predictions != labels) / 360
