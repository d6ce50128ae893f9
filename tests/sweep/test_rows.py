"""The words of a sweep file."""

import pytest

from resnet_jax.sweep import grid, group, row, zipped


def test_a_grid_has_every_combination_and_zipped_only_pairs():
  values = {"model.depth": [20, 32], "model.shortcut": ["identity", "none"]}
  assert [row.name for row in grid(values)] == [
    "depth=20, shortcut=identity",
    "depth=20, shortcut=none",
    "depth=32, shortcut=identity",
    "depth=32, shortcut=none",
  ]
  assert [dict(row.overrides) for row in zipped(values)] == [
    {"model.depth": 20, "model.shortcut": "identity"},
    {"model.depth": 32, "model.shortcut": "none"},
  ]
  assert [row.name for row in grid({"optim.learning_rate": [0.1, 0.2]})] == ["0.1", "0.2"]


def test_zipped_refuses_lists_of_different_lengths():
  with pytest.raises(ValueError, match="shorter"):
    zipped({"model.depth": [20, 32], "model.unit": ["basic"]})


def test_a_group_shares_overrides_and_seeds_that_a_row_may_change():
  rows = [row("a"), row("b", {"model.depth": 32})]
  a, b = group("nets", rows, {"model.depth": 20}, seeds=2)
  assert (a.group, a.overrides["model.depth"], a.seeds) == ("nets", 20, 2)
  assert (b.group, b.overrides["model.depth"], b.seeds) == ("nets", 32, 2)
