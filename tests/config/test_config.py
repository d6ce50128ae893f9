"""Durations, and what a config may hold."""

import pytest

from resnet_jax import config as config_lib
from resnet_jax.config import default_config
from resnet_jax.errors import UserError


@pytest.mark.parametrize(
  ("text", "steps"),
  [
    (100, 100),
    ("100", 100),
    ("1 step", 1),
    ("2 epochs", 90),
    ("33 examples", 2),
    ("50%", 500),
    ("1E3", 1000),
    ("1e+3", 1000),
    ("1_000", 1000),
    ("2 Epochs", 90),
    ("0.5 epochs", 23),
  ],
)
def test_durations(text, steps):
  assert config_lib.steps(text, "x", 32, 1437, total=1000) == steps


@pytest.mark.parametrize("text", ["many", "-3", "1e400", "5 days", "", "1e-1 epochs", "1__0"])
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
    ("train.log_every", 1.5, "is of type float, not int or str; it must be a duration, such as"),
    ("data.pad", True, "is of type bool, not int; it must be a whole number"),
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
  two.train.log_every = "1E2"
  assert config_lib.differences(one, two) == {}
  two.train.log_every, two.model.depth = "100 steps", 20
  assert config_lib.differences(one, two) == {
    "model.depth": (110, 20),
    "train.log_every": (100, "100 steps"),
  }


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("resnet.py:20", "'20' is no data set's name; did you mean depth=20?"),
    ("imagenet/resnet50.py:folder,50", "'50' is no data set's name; did you mean depth=50?"),
    ("preact1001.py:20", "'20' is no data set's name; write digits.*resnet.py:depth=20,digits"),
    ("resnet.py:bottleneck", "did you mean unit=bottleneck?"),
    ("resnet.py:depth=20,full_preact", "did you mean after_add=full_preact?"),
    ("imagenet/resnet50.py:tourch,folder", "recipe='tourch' is unknown; did you mean 'torch'?"),
    ("imagenet/resnet50.py:folder,tourch", "recipe='tourch' is unknown; did you mean 'torch'?"),
    ("resnet.py:optim.nam=adamw", "config.optim.nam is unknown; did you mean config.optim.name?"),
    ("resnet.py:depth=20.5", "depth='20.5' is not of type int; it must be a whole number"),
    ("sweeps/depth.py:digits", "is a sweep file; run it by python -m resnet_jax.sweep --config="),
  ],
)
def test_arguments_whose_cause_is_named(repository, spec, message):
  with pytest.raises(UserError, match=message.replace("?", r"\?")):
    config_lib.load_file(f"{repository}/configs/{spec}")


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("optim.type", "the optimizer is config.optim.name; one of your own has its settings under"),
    ("optimizer.name", "the optimizer is config.optim.name"),
    ("optim.beta1", "under its name, as config.optim.adamw.b1"),
    ("train.epochs", "the length of a run is config.train.steps, as '8 epochs'"),
    ("optim.lr", "did you mean config.optim.learning_rate?"),
    ("optim.batch_size", "did you mean config.data.batch_size?"),
  ],
)
def test_keys_whose_cause_is_named(key, message):
  assert message in str(config_lib.unknown_key(key))
