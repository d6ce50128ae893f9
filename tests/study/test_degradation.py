"""Errors of a run on its training and test sets, against the run's own rows and a count by hand."""

import json

import numpy as np
import pytest

from resnet_jax import api, data
from resnet_jax.config import load_file
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics
from resnet_jax.study.measures.degradation import degradation
from resnet_jax.study.net import Net
from resnet_jax.training import train


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
  monkeypatch.chdir(repository)


@pytest.mark.slow
def test_errors_are_those_of_the_run(tmp_path):
  config = load_file("configs/resnet.py:depth=8,digits")
  config.train.update({"steps": 40, "log_every": 10, "eval_every": 20, "checkpoint_every": 40})
  train.train(config, tmp_path)
  (row,) = degradation(Net(config, tmp_path))
  assert row["depth"] == 8
  assert row["test"] == json.loads((tmp_path / "result.json").read_text())["test_error"]
  curve = {(one["step"], one["split"]): one for one in metrics.read_rows(tmp_path)}
  last = curve[40, "train"]
  assert (row["training"], row["training_loss"]) == (last["error"], last["loss"])
  run = api.load_run(tmp_path)
  images, labels = data.load(config.data).train
  logits = np.asarray(run(images), np.float64)
  assert row["train"] == pytest.approx(100 * np.mean(logits.argmax(-1) != labels), abs=1e-9)
  losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]
  assert row["train_loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_a_net_that_is_not_trained_is_refused():
  with pytest.raises(UserError, match="degradation measures runs; .*--run"):
    list(degradation(Net(load_file("configs/resnet.py:depth=8,digits"))))
