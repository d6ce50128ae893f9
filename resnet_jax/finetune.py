"""Beginning with a network that was trained before, here or elsewhere, but for its classifier."""

import pathlib
from typing import Any

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import paths, workdir
from resnet_jax.errors import UserError

# What must be alike for weights to mean the same.
NETWORK = (
  "model.family",
  "model.depth",
  "model.unit",
  "model.shortcut",
  "model.after_add",
  "model.projection",
  "model.stride_on",
  "model.pool_padding",
  "model.norm.epsilon",
  "data.normalize",
)
ANEW = "classifier"


def source_config(weights: str) -> Any:
  """The config of the network in a run's folder or a weights file.

  Raises:
    UserError: there is none.
  """
  path = pathlib.Path(paths.expand(weights, "config.finetune.weights"))
  if path.is_file():
    from resnet_jax import convert

    return convert.recognize(path)
  config = workdir.read_config(path)
  if config is None:
    raise UserError(
      f"config.finetune.weights={weights!r} is neither a run's folder nor a weights file"
    )
  return config


def check(config) -> None:
  """Raises a UserError where the weights do not fit the network that is to begin with them."""
  if not config.finetune.weights:
    return
  given, ours = map(config_lib.leaves, (source_config(config.finetune.weights), config))
  for key in NETWORK:
    if given[key] != ours[key]:
      raise UserError(
        f"config.finetune.weights={config.finetune.weights!r} are of a net with {key}="
        f"{given[key]!r}; config.{key} is {ours[key]!r}"
      )


def begin(config, state: Any) -> Any:
  """A state that has not trained yet, with the weights of another network but its classifier.

  Raises:
    UserError: a layer has another shape there.
  """
  import jax

  from resnet_jax import api, mesh

  variables = api.load(config.finetune.weights).variables

  def take(path, old, new):
    if path[0].key == ANEW:
      return old
    if np.shape(new) != old.shape:
      name = "/".join(part.key for part in path)
      raise UserError(
        f"config.finetune.weights={config.finetune.weights!r}: {name} has the shape "
        f"{np.shape(new)}, here {old.shape}"
      )
    return mesh.place(np.asarray(new, old.dtype), old.sharding)

  def merged(kind: str):
    return jax.tree_util.tree_map_with_path(take, getattr(state, kind), variables[kind])

  return state.replace(params=merged("params"), batch_stats=merged("batch_stats"))
