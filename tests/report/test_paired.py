"""The bootstrap against an obvious one, and cases with known answers."""

import numpy as np
import pytest

from resnet_jax.report import paired
from resnet_jax.report.paired import difference, summarize


def slow(values, base_values, resamples=4000):
  """Draws seeds and examples one by one, and averages what was drawn."""
  rng = np.random.default_rng(1)
  pairs = values - base_values
  seeds, examples = pairs.shape
  means = []
  for _ in range(resamples):
    chosen = rng.integers(0, seeds, seeds)
    drawn = rng.integers(0, examples, examples)
    means.append(pairs[chosen][:, drawn].mean())
  return pairs.mean(), *np.quantile(means, (0.025, 0.975))


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_interval_is_that_of_drawing_seeds_and_examples(seeds):
  rng = np.random.default_rng(seeds)
  hard = rng.random(400)
  base = 100.0 * (hard < 0.08 + rng.normal(0, 0.01, (seeds, 1)))
  ours = 100.0 * (hard < 0.12 + rng.normal(0, 0.03, (seeds, 1)))
  found = difference(ours, base)
  mean, low, high = slow(ours, base)
  assert found.mean == pytest.approx(mean)
  assert found.low == pytest.approx(low, abs=0.25)
  assert found.high == pytest.approx(high, abs=0.25)
  assert found.seeds == seeds


def test_values_that_all_differ(monkeypatch):
  monkeypatch.setattr(paired, "COUNTS", 5000)  # numbers at a time: in many parts
  rng = np.random.default_rng(0)
  base, ours = rng.gamma(2, 1, (3, 300)), rng.gamma(2, 1.2, (3, 300))
  found = difference(ours, base)
  mean, low, high = slow(ours, base)
  assert (found.mean, found.low, found.high) == pytest.approx((mean, low, high), abs=0.02)
  monkeypatch.undo()
  assert difference(ours, base) == pytest.approx(found)


def test_one_seed_has_the_interval_of_a_proportion():
  base = np.zeros((1, 1000))
  ours = 100.0 * (np.arange(1000)[None] < 100)
  found = difference(ours, base)
  half = 1.96 * 100 * (0.1 * 0.9 / 1000) ** 0.5
  assert found.mean == pytest.approx(10)
  assert (found.low, found.high) == pytest.approx((10 - half, 10 + half), abs=0.15)


def test_seeds_that_disagree_widen_the_interval():
  base = np.zeros((2, 1000))
  ours = 100.0 * np.stack([np.zeros(1000), np.arange(1000) < 200])
  found = difference(ours, base)
  assert found.low == 0  # the first seed drawn twice
  assert found.high > 19


def test_equal_rows_do_not_differ_and_draws_are_the_same_every_time():
  wrong = 100.0 * (np.random.default_rng(0).random((3, 360)) < 0.1)
  assert difference(wrong, wrong) == (0, 0, 0, 3)
  other = 100.0 * (np.random.default_rng(1).random((3, 360)) < 0.1)
  assert difference(wrong, other) == difference(wrong, other)


def test_summaries():
  assert summarize([]) is None
  assert summarize([3.0]) == (3, 3, None)
  assert summarize([1.0, 2.0, 6.0]) == pytest.approx((2, 3, 7**0.5))
