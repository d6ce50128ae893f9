"""Values as they are written on a command line, with or without a config file's help."""

import pytest
from absl import flags
from ml_collections import config_flags

import resnet_jax.main  # noqa: F401  (its flags read None)
from resnet_jax import config as config_lib
from resnet_jax.errors import UserError


@pytest.mark.parametrize(
  ("key", "text", "value"),
  [
    ("data.pad", "None", None),
    ("data.flip", "None", None),
    ("data.workers", "none", None),
    ("data.flip", "true", True),
    ("optim.nesterov", "False", False),
    ("data.batch_size", "16", 16),
    ("seed", "0x10", 16),
    ("optim.weight_decay", "1e-4", 1e-4),
    ("optim.learning_rate", "1", 1.0),
    ("data.name", "None", "None"),
    ("optim.drop_at", "2", "2"),
    ("train.steps", "60", 60),
    ("train.steps", "1_000", "1_000"),
    ("train.steps", "2 Epochs", "2 Epochs"),
  ],
)
def test_texts_that_are_values(key, text, value):
  found = config_lib.read_value(key, text)
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
  ("key", "text", "message"),
  [
    ("data.batch_size", "16.5", "config.data.batch_size='16.5' is not of type int; it must be a"),
    ("data.flip", "perhaps", "must be true or false"),
    ("optim.learning_rate", "0,1", "must be a number"),
    ("optim.beta1", "0.9", "config.optim.beta1 is unknown: the optimizer is config.optim.name"),
  ],
)
def test_texts_that_are_none(key, text, message):
  with pytest.raises(UserError, match=message):
    config_lib.read_value(key, text)


def parsed(*given):
  """The config that the flags make."""
  values = flags.FlagValues()
  argv = ["main", "--config=configs/resnet.py:depth=8,digits", *given]
  holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  values(argv)
  return holder.value


def test_flags_give_none_back(repository, monkeypatch):
  monkeypatch.chdir(repository)
  keys = ("pad", "flip", "workers")
  some = ["--config.data.pad=3", "--config.data.flip", "--config.data.workers=2"]
  config = parsed(*some)
  assert [config.data[key] for key in keys] == [3, True, 2]
  config = parsed(*some, *(f"--config.data.{key}=None" for key in keys))
  assert [config.data[key] for key in keys] == [None, None, None]
  config_lib.check(config)
  with pytest.raises(UserError, match="config.model.depth=None is of type NoneType, not int"):
    config_lib.check(parsed("--config.model.depth=None"))


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--config.data.batch_size=16.5", "batch_size=16.5: must be a whole number"),
    ("--config.optim.learning_rate=fast", "learning_rate=fast: must be a number"),
    ("--config.optim.nesterov=perhaps", "nesterov=perhaps: must be true or false"),
  ],
)
def test_flags_that_are_no_values(repository, monkeypatch, flag, message):
  monkeypatch.chdir(repository)
  with pytest.raises(flags.IllegalFlagValueError, match=message):
    parsed(flag)
