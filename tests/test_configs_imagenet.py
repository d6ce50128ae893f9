"""The ImageNet config files: every net with every recipe, in the recipes' own numbers."""

import functools
import json
import pathlib

import jax.numpy as jnp
import pytest

from resnet_jax import config as config_lib
from resnet_jax import describe
from resnet_jax.config import load_file
from resnet_jax.errors import UserError
from resnet_jax.training import setup

FILES = sorted(
  path
  for path in (pathlib.Path(__file__).parent.parent / "configs" / "imagenet").glob("*.py")
  if path.stem != "miniature"
)
EXAMPLES = 1_281_167


@functools.cache
def depth_of(settings: str) -> int:
  """The depth of a net by its layers; recipes that leave it as it is need not trace it again."""
  model = config_lib.default_config().model
  model.update(json.loads(settings))
  return describe.network(model, (224, 224, 3), 1000)["depth"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("recipe", ["paper", "torch", "large_batch"])
def test_every_net_with_every_recipe(path, recipe):
  config = load_file(f"{path}:{recipe},folder")
  config_lib.check(config)
  setup.plan(config, EXAMPLES)
  kind, depth = path.stem.rstrip("0123456789"), int(path.stem.lstrip("abcdefghijklmnopqrstuvwxyz"))
  assert depth_of(json.dumps(config.model.to_dict(), sort_keys=True)) == depth
  assert (config.model.shortcut == "none") == (kind == "plain")
  assert (config.model.after_add == "full_preact") == (kind == "preact")
  assert (config.data.name, config.data.test_split) == ("folder", "val")


def rates(recipe, epochs):
  config = load_file(f"{FILES[0]}:{recipe}")
  durations, rate = setup.plan(config, EXAMPLES)
  each = EXAMPLES / config.data.batch_size
  return durations.steps, [float(rate(jnp.int32(epoch * each + 1))) for epoch in epochs]


def test_recipes():
  steps, found = rates("paper", [0, 29.9, 30, 60, 90, 119])
  assert steps == 600_000
  assert found == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-4])
  steps, found = rates("torch", [0, 29.9, 30, 60, 89])
  assert steps == 450_411  # 90 epochs
  assert found == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-3])
  steps, found = rates("large_batch", [0, 2.5, 5, 30, 60, 80])
  assert steps == 14_076
  assert found == pytest.approx([0.104, 1.65, 3.2, 0.32, 0.032, 0.0032], rel=0.01)


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("torhc", "the recipe='torhc' is unknown; did you mean 'torch'"),
    ("torch,deep=3", "config.model.deep is unknown"),
    ("torch,paper", "'torch,paper' names 2 recipes; take one: paper, torch, large_batch"),
  ],
)
def test_arguments_that_cannot_work(argument, message):
  with pytest.raises(UserError, match=message):
    load_file(f"{FILES[0]}:{argument}")


def test_the_miniatures_argument():
  folder = FILES[0].with_name("miniature.py")
  assert load_file(f"{folder}:dir=some/photos").data.dir == "some/photos"
  with pytest.raises(UserError, match="'photos' is unknown behind miniature.py; write dir=FOLDER"):
    load_file(f"{folder}:photos")
