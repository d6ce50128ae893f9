"""Prepared TFDS image-classification sets by name, read whole, with no TensorFlow."""

import concurrent.futures
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from resnet_jax import errors
from resnet_jax.data.dataset import Dataset, Info, Split, assemble, describe
from resnet_jax.errors import UserError

MEMORY = 8 * 2**30  # bytes of images that are read whole
_CHUNK = 1024  # examples that one thread decodes at a time


def info(config) -> Info:
  """The `Info` of a TFDS set, from what TFDS knows of it, prepared or not."""
  return _info(config, _builder(config))


def load(config) -> Dataset:
  """Both splits, decoded.

  Raises:
    UserError: the set is not prepared, a split does not exist, or an example is damaged.
  """
  builder = _builder(config)
  if not pathlib.Path(builder.data_dir).is_dir():
    raise _unprepared(config, builder)
  return assemble(
    _info(config, builder),
    _read(builder, config, "train_split"),
    _read(builder, config, "test_split"),
  )


def _builder(config) -> Any:
  tfds.core.utils.gcs_utils._is_gcs_disabled = True  # what is on this machine, and nothing else
  try:
    return tfds.builder(config.name, data_dir=config.dir or None)
  except tfds.core.registered.DatasetNotFoundError:
    names = ["digits", *tfds.list_builders(with_community_datasets=False)]
    error = errors.unknown("config.data.name", config.name, names)
    short = str(error).split("choose from")[0] + "choose digits or an image set of TFDS"
    raise UserError(short) from None
  except (ValueError, AssertionError) as error:
    reason = str(error).strip().splitlines()[0]
    raise UserError(f"config.data.name={config.name!r} cannot be opened: {reason}") from None


def _info(config, builder) -> Info:
  features, keys = builder.info.features, builder.info.supervised_keys
  try:
    image, label = features[keys[0]], features[keys[1]]
    shape, names = image.shape, tuple(label.names)
  except (TypeError, KeyError, AttributeError):
    raise UserError(
      f"config.data.name={config.name!r} is no image-classification set; cifar10 is one"
    ) from None
  if None in shape or len(shape) != 3:
    raise UserError(
      f"config.data.name={config.name!r} has images of different sizes; sets of one size fit here"
    )
  return describe(config, shape, names)


def _unprepared(config, builder) -> UserError:
  return UserError(
    f"config.data.name={config.name!r} is not prepared in {pathlib.Path(builder.data_dir).parent}; "
    "set TFDS_DATA_DIR or --config.data.dir to where it is, or take the bundled digits "
    f"(--config=...:digits), or prepare it: pip install -e '.[prepare]' && tfds build "
    f"{config.name} --file_format=array_record"
    + (f" --data_dir={config.dir}" if config.dir else "")
  )


def _read(builder, config, key: str) -> Split:
  name = config[key]
  try:
    source = builder.as_data_source(split=name)
    total = len(source)
  except (ValueError, AssertionError, KeyError):
    raise UserError(
      f"config.data.{key}={name!r} is no split of {config.name}, which has "
      f"{', '.join(sorted(builder.info.splits))}, and parts such as train[:45000]"
    ) from None
  except (OSError, RuntimeError) as error:
    raise UserError(f"{config.name} in {builder.data_dir} cannot be read: {error}") from None
  image_key, label_key = builder.info.supervised_keys[:2]
  shape = builder.info.features[image_key].shape
  if total * int(np.prod(shape)) > MEMORY or not total:
    raise UserError(f"config.data.{key}={name!r} has {total} images, which do not fit in memory")
  images, labels = np.empty((total, *shape), np.uint8), np.empty(total, np.int32)

  def decode(first: int) -> None:
    for index in range(first, min(first + _CHUNK, total)):
      try:
        example = source[index]
      except (OSError, ValueError, RuntimeError, IndexError, TypeError, SyntaxError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
          f"{config.name}: example {index} of split {name!r} in {builder.data_dir} is damaged: "
          f"{reason[:200]}"
        ) from None
      images[index], labels[index] = example[image_key], example[label_key]

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
    list(threads.map(decode, range(0, total, _CHUNK)))
  return Split(images, labels)
