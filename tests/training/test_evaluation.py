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
  state = steps.init(run.task, run.dataset.info.shape)
  labels = run.dataset.test.labels
  groups = evaluation.resident(run.test, labels)
  found = evaluation.evaluate(run.task, state.variables, groups, len(labels))
  assert len(found.predictions) == len(labels) == 360
  assert found.error == 100 * np.sum(found.predictions != labels) / 360


def group(numbers, labels):
  return evaluation.Group(None, None, np.asarray(numbers), np.asarray(labels, np.int32))


def test_probabilities_are_averaged_over_views():
  random = np.random.default_rng(0)
  logits = random.normal(size=(12, 7)) * 50
  numbers, labels = np.arange(12) % 4, np.asarray([3, 0, 6, 2])
  scores = evaluation.Scores(4, 7)
  scores.add(logits[:5], group(numbers[:5], labels[numbers[:5]]))
  padded = np.concatenate([logits[5:], random.normal(size=(3, 7))])  # padding is not looked at
  scores.add(padded, group(numbers[5:], labels[numbers[5:]]))
  found = evaluation.summarize(scores)
  shares = np.exp(logits - logits.max(1, keepdims=True))
  shares /= shares.sum(1, keepdims=True)
  mean = np.stack([shares[numbers == number].mean(0) for number in range(4)])
  np.testing.assert_array_equal(found.predictions, mean.argmax(1))
  assert found.error == 100 * np.mean(mean.argmax(1) != labels)
  top5 = np.argsort(-mean, 1)[:, :5]
  assert found.top5_error == 100 * np.mean(
    [y not in row for y, row in zip(labels, top5, strict=True)]
  )
  assert found.loss == pytest.approx(-np.log(mean[np.arange(4), labels]).mean())


def test_what_cannot_be_read_is_an_error():
  scores = evaluation.Scores(3, 7)
  scores.add(np.eye(7)[:2], group([0, 2], [0, 1]))
  found = evaluation.summarize(scores)
  assert found.predictions.tolist() == [0, -1, 1]
  assert found.error == found.top5_error == pytest.approx(100 / 3)
