"""Scores are averaged over views, and what cannot be read is an error."""

import numpy as np
import pytest

from resnet_jax import tasks
from resnet_jax.config import default_config
from resnet_jax.data import Info
from resnet_jax.errors import UserError
from resnet_jax.tasks.classification import Scores


def scored(scores):
  """The predictions, and the metrics."""
  info = Info("made up", (8, 8, 1), tuple("abcdefg"), 0, False)
  entries = scores.gather()
  return entries["predictions"], tasks.build(default_config(), info).score(entries, None)


def test_targets_are_labels():
  info = Info("made up", (8, 8, 1), tuple("abcdefg"), 0, False)
  task = tasks.build(default_config(), info)
  task.check(np.zeros(3, np.int32))
  with pytest.raises(
    UserError, match="'made up': its targets are of shape .3, 8, 8.; .*takes a label"
  ):
    task.check(np.zeros((3, 8, 8), np.int32))
  with pytest.raises(UserError, match=r"its targets are \['boxes', 'mask'\]; "):
    task.check({"boxes": np.zeros(3), "mask": np.zeros(3)})


def test_probabilities_are_averaged_over_views():
  random = np.random.default_rng(0)
  logits = random.normal(size=(12, 7)) * 50
  numbers, labels = np.arange(12) % 4, np.asarray([3, 0, 6, 2])
  scores = Scores(4, 7)
  scores.add({"logits": logits[:5]}, numbers[:5], labels[numbers[:5]])
  padded = np.concatenate([logits[5:], random.normal(size=(3, 7))])  # padding is not looked at
  scores.add({"logits": padded}, numbers[5:], labels[numbers[5:]])
  predictions, found = scored(scores)
  shares = np.exp(logits - logits.max(1, keepdims=True))
  shares /= shares.sum(1, keepdims=True)
  mean = np.stack([shares[numbers == number].mean(0) for number in range(4)])
  np.testing.assert_array_equal(predictions, mean.argmax(1))
  assert found["error"] == 100 * np.mean(mean.argmax(1) != labels)
  top5 = np.argsort(-mean, 1)[:, :5]
  assert found["top5_error"] == 100 * np.mean(
    [y not in row for y, row in zip(labels, top5, strict=True)]
  )
  assert found["loss"] == pytest.approx(-np.log(mean[np.arange(4), labels]).mean())


def test_what_cannot_be_read_is_an_error():
  scores = Scores(3, 7)
  scores.add({"logits": np.eye(7)[:2]}, np.array([0, 2]), np.array([0, 1]))
  predictions, found = scored(scores)
  assert predictions.tolist() == [0, -1, 1]
  assert found["error"] == found["top5_error"] == pytest.approx(100 / 3)
