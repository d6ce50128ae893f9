"""Every example is counted once, whatever the batch."""

import numpy as np
import pytest

from resnet_jax import evaluation, steps
from resnet_jax.config import load_file
from resnet_jax.setup import setup


@pytest.mark.parametrize("batch", [7, 64, 512])
def test_evaluation_counts_every_example_once(monkeypatch, repository, batch):
  monkeypatch.chdir(repository)
  monkeypatch.setattr(evaluation, "BATCH", batch)
  run = setup(load_file("configs/resnet.py:depth=8,digits"))
  state = steps.init(run.task, run.dataset.info.shape)
  found = evaluation.evaluate(run.task, state.variables, run.test)
  labels = run.dataset.test.labels
  assert len(found.predictions) == len(labels) == 360
  assert found.error == 100 * np.sum(found.predictions != labels) / 360
