"""The bootstrap against an obvious one, and cases with known answers."""

import numpy as np
import pytest

from resnet_jax.report.paired import difference, summarize


def slow(wrong, base_wrong, resamples=4000):
  """Draws seeds and examples one by one, and averages what was drawn."""
  rng = np.random.default_rng(1)
  paired = 100.0 * (wrong.astype(float) - base_wrong)
  seeds, examples = paired.shape
  means = []
  for _ in range(resamples):
    chosen = rng.integers(0, seeds, seeds)
    drawn = rng.integers(0, examples, examples)
    means.append(paired[chosen][:, drawn].mean())
  return paired.mean(), *np.quantile(means, (0.025, 0.975))


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_interval_is_that_of_drawing_seeds_and_examples(seeds):
  rng = np.random.default_rng(seeds)
  hard = rng.random(400)
  base = hard < 0.08 + rng.normal(0, 0.01, (seeds, 1))
  ours = hard < 0.12 + rng.normal(0, 0.03, (seeds, 1))
  found = difference(ours, base)
  mean, low, high = slow(ours, base)
  assert found.mean == pytest.approx(mean)
  assert found.low == pytest.approx(low, abs=0.25)
  assert found.high == pytest.approx(high, abs=0.25)
  assert found.seeds == seeds


def test_one_seed_has_the_interval_of_a_proportion():
  base = np.zeros((1, 1000), bool)
  ours = np.arange(1000)[None] < 100
  found = difference(ours, base)
  half = 1.96 * 100 * (0.1 * 0.9 / 1000) ** 0.5
  assert found.mean == pytest.approx(10)
  assert (found.low, found.high) == pytest.approx((10 - half, 10 + half), abs=0.15)


def test_seeds_that_disagree_widen_the_interval():
  base = np.zeros((2, 1000), bool)
  ours = np.stack([np.zeros(1000, bool), np.arange(1000) < 200])
  found = difference(ours, base)
  assert found.low == 0  # the first seed drawn twice
  assert found.high > 19


def test_equal_rows_do_not_differ_and_draws_are_the_same_every_time():
  wrong = np.random.default_rng(0).random((3, 360)) < 0.1
  assert difference(wrong, wrong) == (0, 0, 0, 3)
  other = np.random.default_rng(1).random((3, 360)) < 0.1
  assert difference(wrong, other) == difference(wrong, other)


def test_summaries():
  assert summarize([]) is None
  assert summarize([3.0]) == (1, 3, 3, None, 3, 3)
  assert summarize([1.0, 2.0, 6.0]) == pytest.approx((3, 2, 3, 7**0.5, 1, 6))
