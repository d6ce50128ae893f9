"""BN in the wrong mode and its statistics, against batches of groups and against numpy."""

import dataclasses

import jax
import ml_collections
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import resnet_jax
from resnet_jax.config import load_file
from resnet_jax.errors import UserError
from resnet_jax.models.layers import BatchNorm
from resnet_jax.study.measures import normalization
from resnet_jax.study.net import Net
from resnet_jax.study.words import STUDIES
from tests.hurry import evaluate


def net(**more):
  config = load_file("configs/resnet.py:depth=8,digits")
  config.update_from_flattened_dict(more)
  return Net(config, examples=16)


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
  monkeypatch.chdir(repository)


@pytest.fixture
def initialized():
  """A net whose statistics and weights tell classes apart a little."""
  return net(**{"model.dtype": "float64"})


@pytest.mark.slow
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("size", [4, 360])
def test_the_wrong_mode_is_bn_over_groups(initialized, size, alike):
  order = np.concatenate(
    [group.numbers for group in normalization.regroup(initialized, size, alike)]
  )
  assert sorted(order) == [*range(360)]  # each once
  found = normalization.wrong_mode(initialized, normalization.regroup(initialized, size, alike))
  config = ml_collections.ConfigDict(initialized.config.model.to_dict())
  config.norm.group_size = size  # which divides the 360 images
  model = initialized.learner.model.clone(config=ml_collections.FrozenConfigDict(config))
  images, labels = (
    np.asarray(a)[order] for a in (initialized.tested.images, initialized.tested.targets)
  )
  assert (np.diff(labels) >= 0).all() == alike
  logits, _ = evaluate(
    lambda v: model.apply(v, images, train=True, mutable=["batch_stats"]), initialized.variables
  )
  assert found == pytest.approx(100 * np.mean(np.asarray(logits).argmax(-1) != labels))


@pytest.mark.parametrize("of", [("mean",), ("var",), ("mean", "var")])
def test_statistics_of_the_batch(of):
  x = np.random.default_rng(0).normal(1, 3, (4, 5, 5, 2)).astype(np.float32)
  running = {"mean": np.array([0.5, -1.0]), "var": np.array([2.0, 7.0])}
  params = {"scale": np.array([2.0, 3.0]), "bias": np.array([-1.0, 1.0])}
  bn = BatchNorm(decay=0.9, epsilon=0.1, use_running_average=True)
  found = normalization.ByBatch(bn, of).apply({"params": params, "batch_stats": running}, x)
  right = running | {name: getattr(np, name)(x, (0, 1, 2)) for name in of}
  wanted = (x - right["mean"]) / np.sqrt(right["var"] + 0.1) * params["scale"] + params["bias"]
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_last_group_has_what_is_left(initialized):
  sizes = [len(group.numbers) for group in normalization.regroup(initialized, 64, False)]
  assert sizes == [64] * 5 + [40]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "groups"), [(1, 0), (3, 4)])
def test_recomputed_statistics_are_numpys(count, groups):
  initialized = net(**{"model.dtype": "float64", "model.norm.group_size": groups})
  found = normalization.recomputed(initialized, count)["batch_stats"]["stem"]["bn"]
  whole = dataclasses.replace(initialized, examples=16 * count)  # the same images, in one batch
  images = np.pad(np.asarray(whole.batch.images), ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = sliding_window_view(images, (3, 3), (1, 2))  # [N, H, W, C, 3, 3]
  kernel = np.asarray(initialized.variables["params"]["stem"]["conv"]["kernel"])
  maps = np.einsum("nhwcij,ijco->nhwo", windows, kernel)
  np.testing.assert_allclose(found["mean"], maps.mean((0, 1, 2)), rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(found["var"], maps.var((0, 1, 2)), rtol=1e-9)


@pytest.mark.slow
def test_a_net_begins_with_the_initial_statistics(initialized):
  start = initialized.variables["batch_stats"]
  moved = jax.tree.map(lambda value: value + 3, start)
  again = normalization.beginning(moved)
  assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, start))


def test_distances_are_in_right_deviations():
  right = {"mean": np.array([1.0, 2.0]), "var": np.array([4.0, 9.0])}
  running = {"mean": np.array([1.0 + 2 * 0.3, 2.0 - 3 * 0.4]), "var": 1.21 * right["var"]}

  def tree(bn):
    first = {n: {"bn": right, "bn2": bn if n == 2 else right} for n in (1, 2, 3)}
    return {"stem": {"bn": right}} | {f"stage{n}": {"first": unit} for n, unit in first.items()}

  found = normalization.distances(net(**{"model.norm.epsilon": 1e-12}), tree(running), tree(right))
  assert [*found] == [0, 1, 2, 3]
  assert found[0] == found[1] == {"mean_off": 0, "deviation_off": 0}
  # Two BN of two channels each, of which one BN is right.
  assert found[2]["mean_off"] == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 4))
  assert found[2]["deviation_off"] == pytest.approx(100 * (np.sqrt(1.1) - 1))


@pytest.mark.slow
def test_without_bn_no_mode_costs_anything():
  resnet_jax.after_add("without")("conv [ReLU conv] | ReLU")
  rows = [*normalization.normalization(net(**{"model.after_add": "without"}), (3,), (1,))]
  costs = {
    key: [row[key] for row in rows if key in row] for key in ("wrong", "alike", "recomputed")
  }
  assert costs == {"wrong": [0, 0], "alike": [0, 0], "recomputed": [0]}
  assert rows[0]["initial"] == 0
  assert not any("mean_off" in row for row in rows)


@pytest.mark.parametrize(
  ("key", "value"), [("task.name", "regression"), ("model.name", "perceptron")]
)
def test_what_it_does_not_apply_to_is_refused(key, value):
  config = load_file("configs/resnet.py:depth=8,digits")
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=f"{key}='{value}'.*take"):
    STUDIES["normalization"].check(config)
