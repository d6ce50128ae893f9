"""The same steps on one device and on eight."""

import dataclasses

import jax
import numpy as np
import pytest

from resnet_jax.config import load_file
from resnet_jax.data.batch import take
from resnet_jax.distributed import mesh as mesh_lib
from resnet_jax.training import steps
from resnet_jax.training.setup import setup


def on_one_and_on_eight_devices(config, count):
  """The state and the metrics after `count` steps of the same run on 1 and on 8 devices."""
  run = setup(config)
  for devices in (1, 8):
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("data",))
    task = dataclasses.replace(run.learner, batch_sharding=mesh_lib.batched(mesh))
    everywhere = mesh_lib.replicated(mesh)
    state = jax.jit(lambda t=task: steps.init(t, (8, 8, 1)), out_shardings=everywhere)()
    examples = jax.device_put(run.train, everywhere)
    yield jax.device_get(jax.jit(steps.dispatch(task, count))(state, examples, np.int32(count)))


@pytest.mark.slow
def test_one_and_eight_devices_agree(repository, x64, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype = "float64"
  (_, one), (_, eight) = on_one_and_on_eight_devices(config, 50)
  np.testing.assert_allclose(one["loss"], eight["loss"], rtol=1e-9)


@pytest.mark.slow
def test_one_and_eight_devices_take_the_same_first_step_in_float32(repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=20,digits")
  config.optim.weight_decay = 0.0
  (one, _), (eight, _) = on_one_and_on_eight_devices(config, 1)
  assert one.step == eight.step == 1
  # Without weight decay, what the first step leaves in the velocity is the rate times the gradient.
  for tree in ("opt_state", "batch_stats"):
    for a, b in zip(*map(jax.tree.leaves, (getattr(one, tree), getattr(eight, tree))), strict=True):
      assert a.dtype == b.dtype
      np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())


@pytest.mark.slow
@pytest.mark.parametrize("way", ["vmap", "map", "shard"])
def test_seeds_as_one_program_train_as_each_alone(repository, x64, monkeypatch, way):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype = "float64"
  run = setup(config)
  count, seeds = np.int32(5), np.arange(2)

  def train(seed):
    task = dataclasses.replace(run.learner, seed=seed, batch_sharding=None)
    return steps.dispatch(task, 5)(steps.init(task, (8, 8, 1)), run.train, count)

  together = {"vmap": jax.vmap(train), "map": lambda seeds: jax.lax.map(train, seeds)}
  if way == "shard":
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:2]), ("seed",))
    seeds = jax.device_put(seeds, jax.sharding.NamedSharding(mesh, jax.P("seed")))
  states, measured = jax.jit(together.get(way, jax.vmap(train)))(seeds)
  for seed in range(2):
    state, alone = jax.jit(train)(seed)
    np.testing.assert_allclose(measured["loss"][seed], alone["loss"], rtol=1e-9)
    for many, one in zip(*map(jax.tree.leaves, (states.params, state.params)), strict=True):
      np.testing.assert_allclose(many[seed], one, rtol=1e-6, atol=1e-9)
  assert measured["loss"][0, 0] != measured["loss"][1, 0]


def test_a_batch_of_its_own_trains_as_one_taken_from_a_split(repository, monkeypatch):
  monkeypatch.chdir(repository)
  run = setup(load_file("configs/resnet.py:depth=8,digits"))
  state = jax.jit(lambda: steps.init(run.learner, (8, 8, 1)), out_shardings=run.replicated)()
  chosen = np.arange(16) * 7
  split = run.dataset.train
  batch = run.on_devices(split.images[chosen], split.targets[chosen])
  step = jax.jit(lambda *given: steps.train_step(run.learner, *given))
  (one, first), (two, second) = step(state, take(run.train, chosen)), step(state, batch)
  assert first["loss"] == second["loss"]
  for a, b in zip(*map(jax.tree.leaves, (one.params, two.params)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_frozen_parts_are_used_as_they_are(repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.finetune.frozen = "stem, stage1"
  run = setup(config)
  before = jax.jit(lambda: steps.init(run.learner, (8, 8, 1)), out_shardings=run.replicated)()
  after, _ = jax.jit(lambda *given: steps.train_step(run.learner, *given))(
    before, take(run.train, np.arange(16))
  )
  for tree in ("params", "batch_stats"):
    for part, old in getattr(before, tree).items():
      new = getattr(after, tree)[part]
      same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (old, new)), strict=True)]
      assert all(same) if part in ("stem", "stage1") else not any(same), part


@pytest.mark.slow
def test_frozen_norms_stay_while_the_weights_train(repository, monkeypatch):
  """Under momentum and weight decay; but statistics can be computed again for them."""
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=14,digits")
  config.model.norm.frozen = True
  run = setup(config)
  begin = jax.jit(lambda: steps.init(run.learner, (8, 8, 1)), out_shardings=run.replicated)()
  step = jax.jit(lambda *given: steps.train_step(run.learner, *given))
  state = begin
  for _ in range(2):
    state, _ = step(state, take(run.train, np.arange(16)))
  for tree in ("params", "batch_stats"):
    leaves = jax.tree.flatten_with_path((getattr(begin, tree), getattr(state, tree)))[0]
    half = len(leaves) // 2
    for (path, old), (_, new) in zip(leaves[:half], leaves[half:], strict=True):
      is_norm = "bn" in path[-2].key
      assert np.array_equal(old, new) == is_norm, path
  again = jax.jit(lambda *given: steps.batch_statistics(run.learner, *given))(
    state.variables, take(run.train, np.arange(16))
  )
  assert np.any(again["stem"]["bn"]["mean"] != 0)
