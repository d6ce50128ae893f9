"""What an exported file says of its run beside the tensors, so that reading it guesses nothing."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax import config as config_lib
from resnet_jax.config.settings import having
from resnet_jax.errors import UserError

FIELD = "resnet_jax"  # of a .safetensors file's metadata
TOLD = having("exported")
LACKING = having("lacking")  # in files of older versions
OF_PHOTOGRAPHS = {"data.name": "folder", "data.train_split": "train", "data.test_split": "val"}


def write(config: Any, fingerprint: str, classes: Sequence[str] | None = None) -> dict[str, str]:
  """The metadata of a net's file.

  Args:
    config: of the run.
    fingerprint: of its data set.
    classes: their names in the order of the logits; None where they are not known.
  """
  values = config_lib.leaves(config)
  told = {key: values[key] for key in TOLD}
  if config.model.family == "imagenet" or config.data.name == "list":
    told |= OF_PHOTOGRAPHS  # a weights file brings no data set of photographs
  return {FIELD: json.dumps(told | {"fingerprint": fingerprint, "classes": classes})}


def read(path: pathlib.Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], str, Any]:
  """The settings that the metadata of a file tell, the fingerprint, and the classes' names or None;
  nothing, and an empty fingerprint, of others' files.

  Raises:
    UserError: they are no settings.
  """
  if FIELD not in metadata:
    return {}, "", None
  try:
    told = json.loads(metadata[FIELD])
    fingerprint, classes = str(told.pop("fingerprint")), told.pop("classes", None)
    if classes is not None and not all(isinstance(name, str) for name in classes):
      raise ValueError("the classes are no names")
    if set(told) | {*LACKING} != {*TOLD}:
      raise ValueError("other keys than this version writes")
    config = config_lib.default_config()
    config.update_from_flattened_dict(told)
    config_lib.check(config)
  except (ValueError, TypeError, KeyError, AttributeError, UserError) as error:
    reason = str(error).splitlines()[0][:200]
    raise UserError(f"{path}: its metadata {FIELD!r} cannot be read: {reason}") from None
  return told, fingerprint, classes
