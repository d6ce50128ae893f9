"""The gradient by path length, against the enumeration of all paths and against formulas."""

import itertools
import math

import numpy as np
import pytest

from resnet_jax.config import load_file
from resnet_jax.errors import UserError
from resnet_jax.study.measures import paths
from resnet_jax.study.net import Net


def net(settings, dtype="float64", examples=2):
  config = load_file(f"configs/resnet.py:{settings},digits")
  config.model.dtype = dtype
  return Net(config, examples=examples)


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
  monkeypatch.chdir(repository)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("settings", "units"),
  [
    ("depth=14,after_add=full_preact", 6),
    ("depth=8,after_add=original,shortcut=exclusive_gating,remat=unit", 3),
  ],
)
def test_lengths_are_sums_over_all_paths(x64, settings, units):
  of = net(settings)
  through = np.array([*itertools.product([False, True], repeat=units)])
  x = paths.nothing(of)
  gradients, whole = paths.of_paths(of, x, through), paths.gradient(of, x)
  found = paths.by_length(of, x, units + 1)
  assert found.shape == (units + 1, *whole.shape)
  for length, g in enumerate(found):
    of_length = gradients[through.sum(1) == length]
    assert len(of_length) == math.comb(units, length)
    np.testing.assert_allclose(g, of_length.sum(0), rtol=1e-8, atol=1e-10 * np.abs(whole).max())
    assert g.any()
  np.testing.assert_allclose(gradients.sum(0), whole, rtol=1e-8, atol=1e-10 * np.abs(whole).max())
  contributed = np.tensordot(gradients, whole, 4) / np.vdot(whole, whole)
  on_path = paths.on_path(of, x, whole)
  np.testing.assert_allclose(on_path, contributed @ through, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [0.2, 1.5])
def test_paths_whose_size_is_a_power_are_binomial(size):
  """binom(L, k) a^k, normalized, is the binomial distribution of probability a / (1 + a)."""
  units, p = 333, size / (1 + size)
  sampled = {k: size**k for k in (0, 5, 50, 333)}
  found = paths.number_times_size(sampled, units, range(units + 1))
  expected = [100 * math.comb(units, k) * p**k * (1 - p) ** (units - k) for k in range(units + 1)]
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
  blocked = paths.number_times_size(sampled | {1: 0.0}, units, range(units + 1))
  assert blocked.tolist() == found.tolist()
  assert np.isnan(paths.number_times_size({0: 0.0, 1: 1.0, 2: 1.0}, 3, range(4))).all()


@pytest.mark.slow
def test_rows(x64):
  of = net("depth=8,after_add=full_preact")
  rows = [*paths.paths(of, draws=2)]
  rows, units = rows[:4], rows[4:]
  assert [row["length"] for row in rows] == [0, 1, 2, 3]
  assert sum(row["share"] for row in rows) == pytest.approx(100)
  assert [row["unit"] for row in units] == [1, 2, 3]
  mean = sum(row["length"] * row["share"] / 100 for row in rows)
  assert units[-1]["passed"] == sum(row["on_path"] for row in units) == pytest.approx(mean)
  assert sum(row["counted"] for row in rows) == pytest.approx(100)
  for row in (rows[0], rows[3]):  # there is one path through no F, and one through all
    assert row["path"] == pytest.approx(row["together"])
  x = paths.nothing(of)
  g, *shortest = paths.gradient(of, x), *paths.by_length(of, x, 2)
  sizes = [np.linalg.norm(part) / np.linalg.norm(g) for part in shortest]
  assert sizes == pytest.approx([row["together"] for row in rows[:2]])


def test_a_plain_net_has_a_single_path():
  with pytest.raises(UserError, match="shortcut='none' leaves a single path.*identity"):
    paths.paths.check(load_file("configs/resnet.py:depth=8,shortcut=none,digits"))
