"""What a row's runs come to, and how sure its difference to the base row is."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
COUNTS = 2**22  # numbers drawn at a time


class Summary(NamedTuple):
  """Over seeds; `deviation` is the sample's (n - 1), None of a single one."""

  median: float
  mean: float
  deviation: float | None


class Difference(NamedTuple):
  """Of mean headlines, in their unit, with its 95 % interval, over `seeds` seeds."""

  mean: float
  low: float
  high: float
  seeds: int


def summarize(values: Sequence[float]) -> Summary | None:
  """None where there are no values."""
  if not values:
    return None
  deviation = statistics.stdev(values) if len(values) > 1 else None
  return Summary(statistics.median(values), statistics.fmean(values), deviation)


def difference(values: np.ndarray, base_values: np.ndarray) -> Difference:
  """How much larger `values` are than `base_values`, both [seeds, examples] and paired.

  The interval is the percentile bootstrap's: seeds and test examples are drawn with replacement,
  independently of each other, and the mean is taken over all pairs drawn. With one seed only the
  examples vary. The draws are of a fixed seed.
  """
  paired = values - base_values
  seeds, examples = paired.shape
  # Examples that are alike in every seed are drawn together: few of 10,000 columns are left, and
  # multinomial counts of these have the distribution that counts of all would.
  kinds, counts = np.unique(paired, axis=1, return_counts=True)
  rng = np.random.default_rng(0)
  # In parts, as values that all differ would make one array of RESAMPLES x examples.
  part = max(1, COUNTS // len(counts))
  sizes = [min(part, RESAMPLES - first) for first in range(0, RESAMPLES, part)]
  drawn = [rng.multinomial(examples, counts / examples, size) @ kinds.T for size in sizes]
  chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
  means = (chosen * np.concatenate(drawn)).sum(1) / examples
  low, high = np.quantile(means, (0.025, 0.975))
  return Difference(float(paired.mean()), float(low), float(high), seeds)
