"""Runs are compared example by example only where they were tested on the same ones."""

import json

import fake
import numpy as np
import pytest

from resnet_jax.report import facts, paired
from resnet_jax.report.read import read
from resnet_jax.runs import metrics


@pytest.fixture
def sweep(tmp_path, repository, monkeypatch):
  """The folder of a base row with 5 % errors and another with 10 %, a seed each."""
  monkeypatch.chdir(repository)
  monkeypatch.setattr(paired, "RESAMPLES", 50)
  rows = {"base": {}, "plain": {"model.shortcut": "none"}}
  plan = fake.save(tmp_path, rows, base="configs/resnet.py:depth=110,digits", seeds=1)
  for run, error in zip(plan.runs(tmp_path), (5.0, 10.0), strict=True):
    fake.train(tmp_path, plan, run, error)
  return tmp_path


def difference(folder):
  base, row = read([folder])[0].rows
  return facts.difference(row, base)


def named(folder, slug, classes):
  """Writes the names of a row's classes to its result."""
  (path,) = folder.glob(f"**/{slug}/seed0/result.json")
  result = json.loads(path.read_text())
  result["data"]["classes"] = classes
  metrics.write_json(path, result)


def test_runs_on_classes_of_another_order_are_not_paired(sweep):
  named(sweep, "base", ["apple", "leaf", "sky"])
  assert difference(sweep).mean == pytest.approx(5, abs=0.3)  # an older run has no names
  named(sweep, "plain", ["apple", "leaf", "sky"])
  assert difference(sweep).mean == pytest.approx(5, abs=0.3)
  named(sweep, "plain", ["leaf", "sky", "zebra"])
  assert difference(sweep) is None


def test_what_a_run_could_not_read_is_wrong_in_pairs_too(sweep):
  (path,) = sweep.glob("**/plain/seed0/predictions.npz")
  with np.load(path) as saved:
    found = dict(saved)
  before, unread = difference(sweep).mean, slice(0, 36)
  right = np.mean(found["predictions"][unread] == found["labels"][unread])
  found["predictions"][unread] = found["labels"][unread] = -1
  np.savez(path, **found)
  assert difference(sweep).mean == pytest.approx(before + 10 * right)
