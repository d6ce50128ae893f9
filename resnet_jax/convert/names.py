"""The names of a network's classes in the weights file that a run was exported to."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from resnet_jax import data

KEY = "classes"  # of the metadata of a .safetensors file


def metadata(names: Sequence[str] | None) -> dict[str, str]:
  """What a file says of itself, with the names in the order of the logits if they are known."""
  return {"format": "pt"} | ({} if names is None else {KEY: json.dumps(list(names))})


def read(weights: pathlib.Path, outputs: int) -> tuple[str, ...] | None:
  """The names in a file of a network with so many outputs; None where it has none, as others'."""
  if weights.suffix != ".safetensors":
    return None
  from safetensors import safe_open

  with safe_open(weights, "np") as file:
    saved = (file.metadata() or {}).get(KEY, "null")
  try:
    names = tuple(json.loads(saved))
  except (ValueError, TypeError):
    return None
  known = len(names) == outputs and all(isinstance(name, str) for name in names)
  return names if known else None


def named(info: data.Info, names: tuple[str, ...] | None) -> Any:
  """The `info` with those names, if they are known."""
  return info if names is None else dataclasses.replace(info, classes=names)
