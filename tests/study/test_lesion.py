"""Removed and swapped units, against networks whose parameters are set by hand."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from resnet_jax.config import load_file
from resnet_jax.study.measures import lesion
from resnet_jax.study.net import Net
from tests.hurry import evaluate


def net(settings, dtype="float64"):
  config = load_file(f"configs/resnet.py:{settings},digits")
  config.model.dtype = dtype
  return Net(config, examples=4)


def variables(of):
  """As if trained: no two units alike, no scale 1 and no mean 0."""
  draw = np.random.default_rng(0)

  def leaf(path, like):
    if path[-1].key in ("scale", "var"):
      return draw.uniform(0.5, 1.5, like.shape)
    return draw.normal(0, 0.1, like.shape)

  return jax.tree.map_with_path(leaf, dict(of.setup.template.variables))


def changed(tree, change):
  """The tree with its leaves as `change(path, leaf)` gives them."""
  flat = traverse_util.flatten_dict(jax.device_get(tree))
  return traverse_util.unflatten_dict({path: change(path, leaf) for path, leaf in flat.items()})


def outputs(of):
  """The logits of test images as a function of variables and a lesion, compiled once."""
  computed = jax.jit(lambda *given: lesion.outputs(of, *given))
  units = np.arange(9)
  return lambda values, kept=units >= 0, order=units: computed(
    values, of.tested.images[:8], kept, order
  )


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
  monkeypatch.chdir(repository)


def without_F(path, leaf):
  """Sets to zero what F ends with: conv2, or the scale and the bias of bn2."""
  return leaf * 0 if path[-2] in ("conv2", "bn2") and path[0] == "params" else leaf


def passing_on(path, leaf):
  """Convolutions and BNs that pass on what they are given."""
  if path[-2].startswith("conv"):
    channels = leaf.shape[-1]
    kernel = np.zeros((3, 3, channels, channels))
    kernel[1, 1] = np.eye(channels)
    return np.broadcast_to(kernel, leaf.shape)
  return np.full_like(leaf, {"scale": 1, "bias": 0, "mean": 0, "var": 1 - 1e-5}[path[-1]])


@pytest.mark.parametrize(
  ("settings", "by_hand"),
  [
    ("after_add=original", without_F),
    ("after_add=full_preact", without_F),
    ("after_add=original,shortcut=shortcut_gating", without_F),
    ("after_add=original,shortcut=none", passing_on),
  ],
)
def test_a_removal_is_a_unit_that_adds_nothing_or_passes_on(x64, settings, by_hand):
  """Unit 0, which stands alone, and the second in the loop of stage 2."""
  of = net(f"depth=20,{settings}")
  values, kept = variables(of), np.ones(9, bool)
  kept[[0, 5]] = False

  def change(path, leaf):
    if path[1:3] == ("stage1", "first"):
      return by_hand(path, leaf)
    if path[1:3] == ("stage2", "rest"):
      return np.stack([leaf[0], by_hand(path, leaf[1])])
    return leaf

  compute = outputs(of)
  found = compute(values, kept)
  np.testing.assert_allclose(found, compute(changed(values, change)), rtol=1e-9)
  assert not np.allclose(found, compute(values), rtol=1e-3)


def test_a_swap_exchanges_parameters_and_statistics(x64):
  of = net("depth=20")
  values, order = variables(of), np.array([0, 1, 2, 3, 5, 4, 6, 7, 8])

  def change(path, leaf):
    return leaf[::-1] if path[1:3] == ("stage2", "rest") else leaf

  compute = outputs(of)
  found = compute(values, order=order)
  np.testing.assert_allclose(found, compute(changed(values, change)), rtol=1e-12)
  as_it_is = evaluate(of.learner.model.apply, values, of.tested.images[:8])
  np.testing.assert_allclose(compute(values), as_it_is, rtol=1e-9)
  assert not np.allclose(found, as_it_is, rtol=1e-3)


@pytest.mark.parametrize(
  ("settings", "removable"),
  [
    ("depth=14", [1, 1, 1, 1, 1, 1]),
    ("depth=14,shortcut=none", [1, 1, 0, 1, 0, 1]),
    ("depth=20,unit=bottleneck,shortcut=none", [0, 1, 0, 1, 0, 1]),
  ],
)
def test_plain_units_that_change_the_shape_stay(settings, removable):
  found = lesion.removable_units(net(settings).config.model)
  assert found.tolist() == removable
  ranks = lesion.removal_ranks(jax.random.key(0), found)
  assert sorted(ranks) == [*range(6)]
  assert ranks[found].max() < sum(removable)


def test_each_swap_is_of_two_units_of_a_stage():
  stages = np.repeat([0, 1, 2], [3, 4, 8])
  orders = lesion.swapped_orders(jax.random.key(0), (3, 4, 8), 20)
  assert orders.shape == (21, 15)
  assert orders[0].tolist() == [*range(15)]
  for before, after in zip(orders, orders[1:], strict=False):
    moved = np.flatnonzero(before != after)
    assert before[moved].tolist() == after[moved[::-1]].tolist()
    assert len(moved) == 2
  assert (stages[orders] == stages).all()
  assert (orders[:, [0, 3, 7]] == [0, 3, 7]).all()
  assert len(lesion.swapped_orders(jax.random.key(0), (2, 2, 2), 20)) == 1  # nothing to swap


@pytest.mark.slow
@pytest.mark.parametrize(
  ("shortcut", "removable"), [("identity", [True, True, True]), ("none", [True, False, False])]
)
def test_rows(shortcut, removable):
  of = net(f"depth=8,shortcut={shortcut}", "float32")
  rows = [*lesion.lesion(of, draws=2)]
  units, rest = rows[:3], rows[3:]
  assert [row["unit"] for row in units] == [1, 2, 3]
  assert ["without" in row for row in units] == removable
  assert all((row["added"] == 1) == (shortcut == "none") for row in units)
  counts = [*range(sum(removable) + 1)]
  assert [row["removed"] for row in rest if "removed" in row] == counts * 2
  assert [row["swaps"] for row in rest if "swaps" in row] == [0, 0]  # nothing else to swap
  assert rest[0]["error"] == rest[1]["swapped"] == pytest.approx(of.test(of.variables)["error"])
