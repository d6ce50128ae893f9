"""Photographs as a data set: what is known before they are read, and both splits."""

import dataclasses
from typing import Any

from resnet_jax.config import COMPUTED
from resnet_jax.data import augment
from resnet_jax.data.dataset import Dataset, Info, describe
from resnet_jax.data.photos import crops, sources
from resnet_jax.errors import UserError

PHOTOGRAPHS = True


def info(config: Any) -> Info:
  """The `Info` of photographs once they are cropped, shape (image_size, image_size, 3).

  Raises:
    UserError: there are none, or the config asks for what photographs do not have.
  """
  crops.check(config.crop)
  if config.normalize in COMPUTED:
    raise UserError(
      f"config.data.normalize={config.normalize!r} is computed of images of one size; photographs "
      f"take {', '.join(augment.CONSTANTS)} or numbers such as {augment.EXAMPLE}; "
      "configs/finetune.py takes those of its weights"
    )
  if config.pad:
    raise UserError(f"config.data.pad={config.pad} does nothing with photographs; leave it None")
  found = describe(config, (config.image_size, config.image_size, 3), sources.classes(config))
  return dataclasses.replace(found, pad=0)


def load(config: Any) -> Dataset:
  """Both splits, found but not read.

  Raises:
    UserError: see `sources.load`.
  """
  train, test = sources.load(config)
  notes = tuple(dict.fromkeys(line for line in (train.left_out, test.left_out) if line))
  fingerprint = f"{train.fingerprint}-{test.fingerprint}"
  return Dataset(info(config), train, test, fingerprint, notes)
