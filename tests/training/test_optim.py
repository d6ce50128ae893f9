"""The schedules and the optimizer against the papers' numbers and Caffe's formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from resnet_jax import models
from resnet_jax.config import default_config
from resnet_jax.errors import UserError
from resnet_jax.training import optim


def rates(at, **settings):
  config = common.cifar(default_config())
  config.optim.update(settings)
  schedule = optim.schedule(config.optim, 64_000, 128, 50_000)
  return [float(schedule(jnp.int32(step))) for step in at]


def test_the_papers_steps():
  found = rates([0, 399, 400, 31_999, 32_000, 47_999, 48_000, 63_999])
  assert found == pytest.approx([0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_linear_warmup():
  found = rates(
    [0, 200, 399, 400],
    warmup=400,
    warmup_learning_rate=0.1,
    warmup_schedule="linear",
    learning_rate=3.2,
  )
  assert found == pytest.approx([0.1, 1.65, 0.1 + 3.1 * 399 / 400, 3.2])
  with pytest.raises(UserError, match="optim.warmup_schedule='slow' is unknown; choose from"):
    rates([0], warmup_schedule="slow")


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
def test_the_rate_of_a_float64_run_is_exact(x64, schedule):
  config = common.cifar(default_config())
  config.optim.update({"schedule": schedule, "warmup": "0 steps"})
  rate = optim.schedule(config.optim, 64_000, 128, 50_000)(jnp.int32(50_000))
  share = {"step": 0.01, "cosine": (1 + math.cos(math.pi * 50 / 64)) / 2, "constant": 1.0}
  assert rate.dtype == jnp.float64
  assert float(rate) == pytest.approx(0.1 * share[schedule], rel=1e-15)


def test_frozen_parts_stay_and_the_others_train_as_ever():
  config = default_config().optim
  params = {"stem": {"kernel": jnp.ones(3)}, "stage1": {"kernel": jnp.ones(3)}}
  gradients = {"stem": {"kernel": jnp.ones(3)}, "stage1": {"kernel": jnp.ones(3)}}
  moved = {}
  for frozen in ((), ("stem",)):
    optimizer = optim.build(config, lambda _: 0.1, frozen)
    state = optimizer.init(params)
    for _ in range(2):
      moved[frozen], state = optimizer.update(gradients, state, params)
  assert not moved["stem",]["stem"]["kernel"].any()
  np.testing.assert_array_equal(moved["stem",]["stage1"]["kernel"], moved[()]["stage1"]["kernel"])


def test_frozen_norms_are_found_by_their_names():
  """A stacked scale has two axes, as a classifier's weights have."""
  config = default_config()
  config.model.norm.frozen = True
  scale, weights = {"scale": jnp.ones((2, 3)), "bias": jnp.ones((2, 3))}, {"kernel": jnp.ones(3)}
  params = {
    "stem": {"conv": weights, "bn": scale},
    "stage1": {"rest": {"bn12": scale, "gate": weights, "projection_bn": scale}},
    "last_bn": scale,
    "classifier": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)},
    "bnet": weights,
  }
  held = models.held(config.model, ("stage2",))
  optimizer = optim.build(config.optim, lambda _: 0.1, held)
  moved, _ = optimizer.update(params, optimizer.init(params), params)
  for path, leaf in jax.tree.flatten_with_path(moved)[0]:
    module = path[-2].key
    assert jnp.any(leaf != 0) == (module not in ("bn", "bn12", "projection_bn", "last_bn")), path


def test_cosine_and_constant():
  found = rates([0, 16_000, 32_000, 63_999], schedule="cosine", warmup=0)
  assert found[:3] == pytest.approx([0.1, 0.05 + 0.05 * np.cos(np.pi / 4), 0.05])
  assert 0 <= found[3] < 1e-8
  assert rates([0, 63_999], schedule="constant", warmup=0) == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_caffes(nesterov):
  config = default_config().optim
  config.nesterov, config.weight_decay = nesterov, 0.1
  rate = [0.5, 0.5, 0.05]
  optimizer = optim.build(config, lambda step: jnp.asarray(rate)[step])
  w = ours = np.float32(2.0)
  state, v = optimizer.init(ours), 0.0
  for lr, g in zip(rate, (1.0, -3.0, 0.5), strict=True):
    updates, state = optimizer.update(np.float32(g), state, ours)
    ours = ours + updates
    step = lr * (g + 0.1 * w)
    v = 0.9 * v + step  # Caffe keeps the rate inside the velocity
    w = w - (0.9 * v + step if nesterov else v)
    np.testing.assert_allclose(ours, w, rtol=1e-6)


def test_a_long_gradient_is_cut_to_the_norm_before_the_decay():
  config = default_config().optim
  config.update({"clip": 2.5, "weight_decay": 0.1, "momentum": 0.0})
  optimizer = optim.build(config, lambda _: 1.0)
  w = {"a": jnp.ones(1), "b": jnp.ones(1)}
  for gradient, cut in (((3.0, 4.0), (1.5, 2.0)), ((0.3, 0.4), (0.3, 0.4))):
    g = {"a": jnp.full(1, gradient[0]), "b": jnp.full(1, gradient[1])}
    update, _ = optimizer.update(g, optimizer.init(w), w)
    np.testing.assert_allclose([update["a"][0], update["b"][0]], [-c - 0.1 for c in cut], rtol=1e-6)
