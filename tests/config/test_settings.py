"""The table of settings: that it fits the code that reads them, and what is derived from it."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from resnet_jax import config as config_lib
from resnet_jax import data, models
from resnet_jax.config import default_config
from resnet_jax.config.settings import COMPUTED, SETTINGS, having, reader
from resnet_jax.data import augment
from resnet_jax.data.arrays import DATASETS
from resnet_jax.errors import UserError
from resnet_jax.models import initializers, orders, resnet, shortcuts, units
from resnet_jax.training import optim

NAMES = {  # what the code has for the choices of a setting
  "model.name": models.MODELS,
  "model.family": resnet.WIDTHS,
  "model.unit": units.UNITS,
  "model.shortcut": shortcuts.SHORTCUTS,
  "model.after_add": orders.AFTER_ADD,
  "model.residual": units.RESIDUALS,
  "model.pool_padding": resnet.POOL_PADDING,
  "model.init": initializers.KERNEL,
  "model.remat": resnet.REMAT,
  "data.augmentation": augment.AUGMENTATIONS,
  "optim.name": optim.OPTIMIZERS,
  "optim.schedule": optim.SCHEDULES,
}


@pytest.mark.parametrize("key", NAMES)
def test_the_choices_are_the_names_in_the_code(key):
  assert set(SETTINGS[key].choices) == set(NAMES[key])


def test_other_names_are_those_in_the_code():
  assert set(DATASETS) == {"digits"}
  assert (*COMPUTED, "imagenet", "caffe") == augment.KINDS


@pytest.mark.parametrize("key", SETTINGS)
def test_its_reader_names_it(key):
  spec = importlib.util.find_spec(f"resnet_jax.{reader(key)}")
  assert key.rpartition(".")[2] in pathlib.Path(spec.origin).read_text()


@pytest.mark.parametrize("key", SETTINGS)
def test_a_row_makes_sense(key):
  setting = SETTINGS[key]
  assert setting.help.endswith(".") and setting.help[0].isupper()
  assert setting.resume in ("fixed", "free", "sweep")
  assert all(
    limit.holds(setting.default) for limit in setting.checks if setting.default is not None
  )
  if belongs := setting.belongs:
    known = SETTINGS[belongs.to].choices
    assert bool(belongs.only) != bool(belongs.never)
    assert not known or {*belongs.only, *belongs.never} <= {*known}
  for role in setting.roles:
    assert key in having(role)


def test_the_lists_that_once_were_kept_by_hand():
  assert having("host") == ("data.dir", "data.workers")
  assert having("photographs") == ("data.image_size", "data.crop", "data.workers")
  assert config_lib.parts.free(of_a_sweep=True) == {"data.dir", "train.checkpoint_every"}
  alike = (
    *("model.family", "model.depth", "model.unit", "model.shortcut", "model.after_add"),
    *("model.projection", "model.stride_on", "model.pool_padding", "model.norm.epsilon"),
    "data.normalize",
  )
  assert tuple(key for key in having("weights") if key in alike) == alike  # in this order
  durations = {key for key, setting in SETTINGS.items() if setting.duration}
  every = {f"train.{key}" for key in ("steps", "log_every", "eval_every", "checkpoint_every")}
  assert durations == every | {"optim.warmup"}


def test_the_config_needs_no_jax():
  code = "import sys, resnet_jax.config.show, resnet_jax; resnet_jax.dataset; print(*sys.modules)"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert not {"jax", "flax", "optax"} & {*done.stdout.split()}


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("model.dropout_rate", 1.0, "config.model.dropout_rate=1.0 must be at least 0 and below 1"),
    ("model.norm.epsilon", 0.0, "config.model.norm.epsilon=0.0 must be above 0"),
    ("model.unroll", 0, "config.model.unroll=0 must be 1 or more"),
    ("optim.momentum", 1.0, "config.optim.momentum=1.0 must be below 1"),
    ("seed", -1, "config.seed=-1 must be 0 or more"),
  ],
)
def test_limits(key, value, message):
  config = default_config()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=message):
    config_lib.check(config)


def test_a_config_of_an_older_version_is_read():
  """Its config.json lacks the settings that came later."""
  config = default_config()
  config.model.depth, config.data.name = 20, "digits"
  tree = config_lib.to_json(config)
  for group, name in (("model", "name"), ("optim", "name"), ("data", "augmentation")):
    del tree[group][name]
  assert config_lib.from_json(json.loads(json.dumps(tree))) == config
  assert config_lib.stored(tree) == config


def test_photographs_settings_are_refused_for_others():
  config = default_config().data
  config.name, config.image_size = "digits", 64
  with pytest.raises(UserError, match="config.data.image_size=64 is for photographs; the images"):
    data.info(config)
