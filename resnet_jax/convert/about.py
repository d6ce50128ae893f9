"""What an exported file says of its run beside the tensors, so that reading it guesses nothing."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError

FIELD = "resnet_jax"  # of a .safetensors file's metadata
NETWORK = (
  "model.family",
  "model.unit",
  "model.depth",
  "model.projection",
  "model.stride_on",
  "model.pool_padding",
  "model.norm.epsilon",
)
DATA = ("data.name", "data.train_split", "data.test_split", "data.normalize", "data.image_size")
OF_PHOTOGRAPHS = {"data.name": "folder", "data.train_split": "train", "data.test_split": "val"}
FINGERPRINT = "fingerprint"


def write(config: Any, fingerprint: str) -> dict[str, str]:
  """The metadata of a net's file.

  Args:
    config: of the run.
    fingerprint: of its data set.
  """
  values = config_lib.leaves(config)
  told = {key: values[key] for key in (*NETWORK, *DATA)}
  if config.model.family == "imagenet" or config.data.name == "list":
    told |= OF_PHOTOGRAPHS  # a weights file brings no data set of photographs
  return {FIELD: json.dumps(told | {FINGERPRINT: fingerprint})}


def read(path: pathlib.Path, metadata: Mapping[str, str]) -> dict[str, Any]:
  """The settings that the metadata of a file tell, and the fingerprint; none of others' files.

  Raises:
    UserError: they are no settings.
  """
  if FIELD not in metadata:
    return {}
  try:
    told = json.loads(metadata[FIELD])
    fingerprint = str(told.pop(FINGERPRINT))
    if set(told) != {*NETWORK, *DATA}:
      raise ValueError("other keys than this version writes")
    config = config_lib.default_config()
    config.update_from_flattened_dict(told)
    config_lib.check(config)
  except (ValueError, TypeError, KeyError, AttributeError, UserError) as error:
    reason = str(error).splitlines()[0][:200]
    raise UserError(f"{path}: its metadata {FIELD!r} cannot be read: {reason}") from None
  return told | {FINGERPRINT: fingerprint}
