"""Data sets by name, and their order and augmentation on the device.

`digits` comes with scikit-learn, `folder` and `list` are photographs on disk; others are registered
(see `arrays`) or sets of TensorFlow Datasets (TFDS). Images of one size are read whole into host
memory, photographs, which differ in size, as they are needed.
"""

from typing import Any

import ml_collections

from resnet_jax.config import paths
from resnet_jax.config.settings import SETTINGS, having
from resnet_jax.data import arrays, imagenet
from resnet_jax.data import digits as digits  # registers them
from resnet_jax.data.dataset import Dataset, Info, Split, describe
from resnet_jax.errors import UserError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

__all__ = ["Dataset", "Info", "Split", "describe", "info", "load", "of_weights"]


def info(config: Any) -> Info:
  """What `config.data` names, without reading, downloading or preparing anything.

  Raises:
    UserError: there is no data set of that name.
  """
  config, source = _source(config)
  if not source.PHOTOGRAPHS:
    for key in having("photographs"):
      value = config[key.removeprefix("data.")]
      if value != SETTINGS[key].default:
        raise UserError(
          f"config.{key}={value!r} is for photographs; the images of {config.name} are of one size"
        )
  known: Info = source.info(config)
  return known


def load(config: Any) -> Dataset:
  """Both splits of the data set that `config.data` names; CIFAR is prepared first if it must be.

  Raises:
    UserError: the set or a split does not exist, is not prepared, is damaged or does not fit.
  """
  config, source = _source(config)
  dataset: Dataset = source.load(config)
  return dataset


def of_weights(config: Any, classes: int) -> Info:
  """The `Info` of what weights from elsewhere were trained on, of which only the kind is known."""
  if config.name == "cifar10":  # TFDS knows the names only where the set is prepared
    return describe(config, (32, 32, 3), CIFAR10)
  if config.name not in ("folder", "list"):
    return info(config)
  names = tuple(imagenet.names()) if classes == 1000 else tuple(map(str, range(classes)))
  return describe(config, (config.image_size, config.image_size, 3), names)


def _source(config: Any) -> tuple[Any, Any]:
  """The config with `dir` written out, if it is in the user's home, and what reads the data set."""
  if config.dir.startswith("~"):
    config = ml_collections.ConfigDict(config.to_dict())  # of a frozen one, too
    config.dir = paths.expand(config.dir, "config.data.dir")
  if config.name in arrays.DATASETS:
    return config, arrays
  from resnet_jax.data.photos import dataset as photos

  if config.name in ("folder", "list"):
    return config, photos
  from resnet_jax.data import tfds  # a second to import, which digits need not pay

  return config, photos if tfds.differ_in_size(config) else tfds
