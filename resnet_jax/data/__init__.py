"""Data sets by name, read whole into host memory; and their order and augmentation on the device.

`digits` comes with scikit-learn; every other name is a TensorFlow Datasets (TFDS) set.
"""

from resnet_jax.data import digits
from resnet_jax.data.dataset import Dataset, Info, Split
from resnet_jax.data.dataset import describe as recorded

__all__ = ["Dataset", "Info", "Split", "info", "load", "recorded"]


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


def _source(name: str):
  if name == "digits":
    return digits
  from resnet_jax.data import tfds  # a second to import, which digits need not pay

  return tfds
