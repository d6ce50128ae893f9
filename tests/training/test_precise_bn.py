"""BN statistics over many batches against those of one large batch."""

import jax
import numpy as np
import pytest

from resnet_jax.config import load_file
from resnet_jax.data.batch import take
from resnet_jax.training import precise_bn, steps
from resnet_jax.training.setup import setup


@pytest.mark.slow
def test_a_first_layer_gets_the_statistics_of_all_images_together(repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  run = setup(config)
  variables = jax.jit(lambda: steps.init(run.learner, (8, 8, 1)))().variables
  batches = [take(run.train, np.arange(first, first + 48)) for first in range(0, 240, 48)]
  found = precise_bn.recompute(run.learner, variables, iter(batches), 5)["batch_stats"]
  whole = steps.batch_statistics(run.learner, variables, take(run.train, np.arange(240)))
  for ours, theirs in zip(*map(jax.tree.leaves, (found["stem"], whole["stem"])), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
  # Deeper layers are normalized by their own batch's statistics: close, not equal.
  for ours, theirs in zip(*map(jax.tree.leaves, (found, whole)), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=0.3, atol=0.1)
  assert config.model.norm.decay == 0.9  # what was given is as it was
  old = jax.tree.leaves(variables["batch_stats"])
  assert all(not np.allclose(a, b) for a, b in zip(jax.tree.leaves(found), old, strict=True))
