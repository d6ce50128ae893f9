"""Beginning with a network that was trained before, here or elsewhere, but for its classifier."""

import pathlib
from typing import Any

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import convert, data
from resnet_jax.config import paths, settings
from resnet_jax.errors import UserError
from resnet_jax.runs import workdir
from resnet_jax.runs.progress import say

ANEW = "classifier"
# By the channels of a net's images: what they are called, and what such a net can go on with.
IMAGES = {
  1: (
    "grey images",
    "finetune it on grey images of one size, such as the digits (leave dir= out), or begin with a "
    "net of colour images, such as one of configs/resnet.py on cifar10",
  ),
  3: (
    "colour images",
    "finetune it on a folder of photographs: configs/finetune.py:weights=...,dir=...",
  ),
}


def source_config(weights: str) -> Any:
  """The config of the network in a run's folder or a weights file.

  Raises:
    UserError: there is none.
  """
  path = pathlib.Path(paths.expand(weights, "config.finetune.weights"))
  if path.is_file():
    return convert.recognize(path)
  config = workdir.read_config(path)
  if config is None:
    raise UserError(
      f"config.finetune.weights={weights!r} is neither a run's folder nor a weights file"
    )
  return config


def normalization(weights: str, source: Any) -> str:
  """`data.normalize` of photographs for a net of `source`: the constants it was trained with.

  A mean that was computed of a training set is written out as numbers, so that the run never needs
  that set again. A mean of each pixel is averaged over positions, as the views of photographs have
  more than one size.

  Args:
    weights: a run's folder or a weights file.
    source: its config.

  Raises:
    UserError: the net is not for colour images, or its data set is not here.
  """
  from resnet_jax.data import augment

  _refuse_channels(weights, source, 3, "folder")
  if source.data.normalize not in config_lib.COMPUTED:
    return source.data.normalize
  images = data.load(source.data).images
  return augment.written(*augment.normalization(images, source.data.normalize))


def image_size(source: Any) -> int:
  """The size of photographs that a net of `source` takes: that of the images it was trained on."""
  if source.model.family == "imagenet" or source.data.name in ("folder", "list"):
    return source.data.image_size
  return data.info(source.data).shape[0]


def _refuse_channels(weights: str, source: Any, channels: int, target: str) -> None:
  """Raises a UserError where a net of `source` takes images of other channels than `target`'s."""
  from resnet_jax.data import augment

  constants = augment.constants(source.data.normalize)
  theirs = len(constants[0]) if constants else data.info(source.data).shape[-1]
  if theirs != channels:
    what, instead = IMAGES.get(theirs, (f"images of {theirs} channels", "take other weights"))
    raise UserError(
      f"config.finetune.weights={weights!r} are of a net for {what} and cannot go on with images "
      f"of {channels} channel{'s' * (channels != 1)}, as {target} has; {instead}"
    )


def check(config) -> None:
  """Raises a UserError where the weights do not fit the network that is to begin with them, or it
  needs weights; says what was read from a weights file, and by what images are normalized, if that
  changes.
  """
  weights = config.finetune.weights
  if not weights:
    if config.model.norm.frozen:
      raise UserError(
        "config.model.norm.frozen=True keeps every BN as it begins, which is for a net that has "
        "trained; name its weights with config.finetune.weights, or leave norm.frozen at False"
      )
    return
  source = source_config(weights)
  _refuse_channels(weights, source, data.info(config.data).shape[-1], config.data.name)
  given, ours = source.data.normalize, config.data.normalize
  computed = given in config_lib.COMPUTED
  written = computed and "/" in ours  # see `normalization`
  differences = config_lib.differences(source, config)
  for key in settings.having("weights"):
    if key in differences and not (key == "data.normalize" and written):
      theirs, here = differences[key]
      raise UserError(
        f"config.finetune.weights={weights!r} are of a net with {key}={theirs!r}; "
        f"config.{key} is {here!r}"
      )
  if pathlib.Path(weights).is_file():
    say(convert.said(weights, *convert.load_weights(weights, backbone=True)[::2]))
  if computed and source.data.name != config.data.name:
    of = "" if written else f" of {config.data.name}"
    say(
      f"images are normalized by {ours}{of}; the weights were trained with {given} of "
      f"{source.data.name}"
    )


def begin(config, state: Any) -> Any:
  """A state that has not trained yet, with the weights of another network but its classifier.

  Raises:
    UserError: a layer has another shape there.
  """
  import jax

  from resnet_jax import api
  from resnet_jax.distributed import mesh

  path = pathlib.Path(config.finetune.weights)
  if path.is_file():
    variables = convert.load_weights(path, backbone=True)[1]
  else:  # without the data set that it was trained on
    variables = api.restore(path, "last", api.own_config(path))[2].variables

  def take(path, old, new):
    if np.shape(new) != old.shape:
      name = "/".join(part.key for part in path)
      raise UserError(
        f"config.finetune.weights={config.finetune.weights!r}: {name} has the shape "
        f"{np.shape(new)}, here {old.shape}"
      )
    return mesh.place(np.asarray(new, old.dtype), old.sharding)

  def merged(kind: str) -> dict[str, Any]:
    """The weights of all parts but the head, whatever that is on either side."""
    ours, theirs = dict(getattr(state, kind)), variables[kind]
    shared = [name for name in ours if name in theirs and name != ANEW]
    begun = jax.tree_util.tree_map_with_path(
      take, {name: ours[name] for name in shared}, {name: theirs[name] for name in shared}
    )
    return ours | begun

  return state.replace(params=merged("params"), batch_stats=merged("batch_stats"))
