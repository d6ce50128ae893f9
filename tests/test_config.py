"""Durations, and what a config may hold."""

import pytest

from resnet_jax import config as config_lib
from resnet_jax.config import default_config
from resnet_jax.errors import UserError


@pytest.mark.parametrize(
  ("text", "steps"),
  [(100, 100), ("100", 100), ("1 step", 1), ("2 epochs", 90), ("33 examples", 2), ("50%", 500)],
)
def test_durations(text, steps):
  assert config_lib.steps(text, "x", 32, 1437, total=1000) == steps


@pytest.mark.parametrize("text", ["many", "-3", "1e400", "5 days", ""])
def test_what_is_no_duration(text):
  with pytest.raises(UserError, match=r"config.train.steps=.* is no duration; write 100"):
    config_lib.steps(text, "train.steps", 32, 1437)


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("data.pad", -1, "config.data.pad=-1 must be 0 or more"),
    ("seed", 2**40, "must be below"),
    ("optim.learning_rate", float("nan"), "not a finite number"),
    ("model.norm.group_size", 48, "must divide config.data.batch_size=128"),
  ],
)
def test_values_that_cannot_work(key, value, message):
  config = default_config()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=message):
    config_lib.check(config)


def test_json_and_back():
  config = default_config()
  config.data.pad = 3
  assert config_lib.from_json(config_lib.to_json(config)) == config


def test_a_duration_is_the_same_as_a_number_or_a_text():
  one, two = config_lib.default_config(), config_lib.default_config()
  one.train.log_every, two.train.log_every = 100, "100"
  assert config_lib.differences(one, two) == {}
  two.train.log_every, two.model.depth = "100 steps", 20
  assert config_lib.differences(one, two) == {
    "model.depth": (110, 20),
    "train.log_every": (100, "100 steps"),
  }
