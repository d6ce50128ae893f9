"""Data sets by name, read whole into host memory; and their order and augmentation on the device.

`digits` comes with scikit-learn; every other name is a TensorFlow Datasets (TFDS) set.
"""

from resnet_jax.data import digits, imagenet
from resnet_jax.data.dataset import Dataset, Info, Split, describe

__all__ = ["Dataset", "Info", "Split", "describe", "info", "load", "of_weights"]


def info(config) -> Info:
  """What `config.data` names, without reading, downloading or preparing anything.

  Raises:
    UserError: there is no data set of that name.
  """
  return _source(config.name).info(config)


def load(config) -> Dataset:
  """Both splits of the data set that `config.data` names; CIFAR is prepared first if it must be.

  Raises:
    UserError: the set or a split does not exist, is not prepared, is damaged or does not fit.
  """
  return _source(config.name).load(config)


def of_weights(config, classes: int) -> Info:
  """The `Info` of what weights from elsewhere were trained on, of which only the kind is known."""
  if config.name != "folder":
    return info(config)
  names = tuple(imagenet.names()) if classes == 1000 else tuple(map(str, range(classes)))
  return describe(config, (config.image_size, config.image_size, 3), names)


def _source(name: str):
  if name == "digits":
    return digits
  from resnet_jax.data import tfds  # a second to import, which digits need not pay

  return tfds
