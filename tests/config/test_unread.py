"""Settings that nothing reads: which they are, that they change nothing, what is refused."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from resnet_jax import config as config_lib
from resnet_jax import models
from resnet_jax.config import default_config, load_file, unread
from resnet_jax.errors import UserError
from resnet_jax.models import orders, shortcuts, units
from resnet_jax.training import optim

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
IDLE = [  # settings that decide, settings that do nothing then, what the message says
  ({"optim.schedule": "cosine"}, {"optim.drop_at": "2000 steps"}, "belongs to optim.schedule=step"),
  ({"optim.schedule": "constant"}, {"optim.drop_at": "10%"}, "leave it at '50%, 75%'"),
  ({"optim.schedule": "cosine"}, {"optim.drop_factor": 0.5}, "config.optim.drop_factor=0.5 does"),
  ({}, {"model.stride_on": "3x3"}, "nothing with config.model.unit='basic'; .*unit=bottleneck"),
  ({"model.unit": "single"}, {"model.stride_on": "3x3"}, "with config.model.unit='single'"),
  ({"data.name": "digits"}, {"data.dir": "/data"}, "config.data.dir='/data' does nothing with"),
  ({"optim.momentum": 0.0}, {"optim.nesterov": True}, "belongs to an optim.momentum above 0"),
  ({"optim.warmup": "0 epochs"}, {"optim.warmup_schedule": "linear"}, "an optim.warmup of a step"),
  ({"optim.warmup": 0}, {"optim.warmup_learning_rate": 0.5}, "warmup_learning_rate=0.5 does no"),
]


def changed(*settings):
  config = default_config()
  config.model.depth = 8
  for some in settings:
    config.update_from_flattened_dict(some)
  return config


@pytest.mark.parametrize(("decides", "idle", "message"), IDLE)
def test_what_nothing_reads_is_refused_and_no_difference(decides, idle, message):
  given, left = changed(decides, idle), changed(decides)
  with pytest.raises(UserError, match=message):
    config_lib.refuse_unread(given)
  config_lib.refuse_unread(left)
  assert config_lib.unread(given) == config_lib.unread(left) >= idle.keys()
  assert config_lib.differences(given, left) == {}


def test_what_one_of_two_reads_is_a_difference():
  basic, bottleneck = changed({"model.stride_on": "3x3"}), changed({"model.unit": "bottleneck"})
  assert config_lib.differences(basic, bottleneck).keys() == {"model.stride_on", "model.unit"}
  dropping = changed({"optim.drop_at": "20%"})
  assert config_lib.differences(changed(), dropping).keys() == {"optim.drop_at"}


@pytest.mark.parametrize(
  "settings",
  [
    {},
    {"optim.schedule": "cosine", "optim.drop_at": config_lib.DROPS["torch"]},  # a recipe's
    {"model.shortcut": "none", "model.projection": "B"},  # as rows of one sweep may share it
    {"optim.drop_at": "20%", "optim.nesterov": True, "optim.warmup": 5, "data.dir": "/data"},
    {"model.unit": "bottleneck", "model.stride_on": "3x3", "optim.warmup_learning_rate": 0.5},
  ],
)
def test_what_is_read_or_a_recipes_is_not_refused(settings):
  config_lib.refuse_unread(changed({"optim.warmup": 1}, settings))


def test_a_shortcut_of_ones_own_may_read_all_of_the_model():
  own = config_lib.unread(changed({"model.shortcut": "halved"}))
  assert not [key for key in own if key.startswith("model.")]


@pytest.mark.parametrize(
  ("decides", "idle"),
  [
    ({}, {"stride_on": "3x3", "gate_bias": -3.0, "dropout_rate": 0.1, "shortcut_scale": 0.5}),
    ({"unit": "single"}, {"stride_on": "3x3", "residual_scale": 0.5}),
    ({"shortcut": "none"}, {"projection": "B", "gate_bias": 1.0}),
    ({"shortcut": "conv"}, {"projection": "B", "dropout_rate": 0.1}),
  ],
)
def test_what_nothing_reads_leaves_the_network_as_it_is(decides, idle):
  def traced(settings):
    model = default_config().model
    model.update({"depth": 8} | settings)
    network = models.ResNet(model, models.Classifier(10, model.init))
    image, key = jnp.zeros((2, 8, 8, 1)), jax.random.key(0)
    return str(jax.make_jaxpr(lambda x: network.init_with_output(key, x, train=True))(image))

  config = changed({f"model.{key}": value for key, value in decides.items()})
  assert {f"model.{key}" for key in idle} <= config_lib.unread(config)
  assert traced(decides) == traced(decides | idle)


@pytest.mark.parametrize(
  "settings", [some for some in IDLE if any(key.startswith("optim") for key in some[1])]
)
def test_what_nothing_reads_leaves_the_steps_as_they_are(settings):
  def moved(config):
    rate = optim.schedule(config.optim, 1000, 128, 50_000)
    optimizer, w, path = optim.build(config.optim, rate), jnp.ones(3), []
    state = optimizer.init(w)
    for step in range(3):
      update, state = optimizer.update(jnp.cos(w), state, w)
      path += [*(w := w + update), rate(jnp.int32(400 * step))]
    return jnp.stack(path)

  decides, idle, _ = settings
  assert (moved(changed(decides)) == moved(changed(decides, idle))).all()


def test_the_names_are_those_of_the_models():
  ours = lambda table, module: {k for k, f in table.items() if f.__module__ == module.__name__}
  assert set(unread.SHORTCUTS) == ours(shortcuts.SHORTCUTS, shortcuts)
  assert set(unread.UNITS) == ours(units.UNITS, units)
  assert set(unread.AFTER_ADD) == set(orders.AFTER_ADD)
  assert {rule.by for rule in unread.UNREAD.values()} <= config_lib.leaves(default_config()).keys()


@pytest.mark.parametrize(
  "spec",
  [
    *(
      f"{path.relative_to(CONFIGS)}:{recipe}"
      for path in sorted((CONFIGS / "imagenet").glob("*.py"))
      if path.stem != "miniature"
      for recipe in ("paper", "torch", "large_batch")
    ),
    "imagenet/miniature.py",
    "preact1001.py:digits",
    "resnet.py:depth=20,digits",
    "resnet.py:unit=bottleneck,depth=164,shortcut=none",
  ],
)
def test_config_files_set_only_what_their_net_reads(spec):
  config, defaults = load_file(f"{CONFIGS}/{spec}"), config_lib.leaves(default_config())
  leaves = config_lib.leaves(config)
  assert not [key for key in config_lib.unread(config) if leaves[key] != defaults[key]]


def test_a_recipe_follows_the_unit_that_is_named_with_it():
  spec = f"{CONFIGS}/imagenet/resnet18.py:torch"
  assert load_file(spec).model.stride_on == "1x1"
  assert load_file(f"{spec},unit=bottleneck,depth=50").model.stride_on == "3x3"
