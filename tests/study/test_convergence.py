"""Convergence: the rows of a run's metrics."""

import json

import pytest

from configs import plain
from resnet_jax.errors import UserError
from resnet_jax.study.measures.convergence import convergence
from resnet_jax.study.net import Net


def test_rows_are_those_of_the_run(tmp_path):
  about = {"epoch": 0.5, "timing": {"seconds": 1.0}}
  rows = [
    {"step": 20, "split": "train", "loss": 2.3, "error": 90.0} | about,
    {"step": 40, "split": "train", "loss": 1.1, "error": 40.0} | about,
    {"step": 40, "split": "test", "loss": 1.2, "error": 45.0} | about,
  ]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert [*convergence(Net(plain.get_config("digits"), tmp_path))] == [
    {"step": 20, "epoch": 0.5, "loss": 2.3, "error": 90.0},
    {"step": 40, "epoch": 0.5, "loss": 1.1, "error": 40.0},
    {"step": 40, "test_epoch": 0.5, "test_loss": 1.2, "test_error": 45.0},
  ]


def test_a_net_that_was_not_trained_is_refused():
  with pytest.raises(UserError, match="convergence is seen in a run's metrics; set trained=True"):
    next(convergence(Net(plain.get_config("digits"))))
