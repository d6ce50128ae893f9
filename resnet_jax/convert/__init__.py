"""Weights from other frameworks, and back.

    config, variables, report = convert.load_weights("resnet50.pth")

The net is recognized from the tensors' names. What they do not tell is taken from the kind of
file: PyTorch's nets have the stride on the 3x3 convolution, Caffe's on the first 1x1.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from resnet_jax import config as config_lib
from resnet_jax import errors
from resnet_jax.convert import files
from resnet_jax.convert.layouts import LAYOUTS, PADDINGS, Layout
from resnet_jax.convert.translate import Entry, Report, entries, to_ours, to_theirs
from resnet_jax.errors import UserError
from resnet_jax.models import resnet

__all__ = ["LAYOUTS", "PADDINGS", "Report", "load_weights", "recognize", "tensors_of"]

EXPORTED = {"imagenet": "torchvision", "cifar": "cifar"}


class Match(NamedTuple):
  """A net that a file's tensors may be of."""

  layout: Layout
  config: Any
  table: list[Entry]
  share: float  # of the names of both that both have


def load_weights(
  path: str | os.PathLike, config: Any = None, padding: str = "both"
) -> tuple[Any, dict[str, Any], Report]:
  """The network in a weights file.

  Args:
    path: .safetensors, .pth, .pt, .th or .caffemodel.
    config: of the net that it must be, with no tensor left over; recognized where None.
    padding: of the shortcuts' zero channels in CIFAR nets: both sides, or the end.

  Returns:
    its config, its variables as `model.apply` takes them, and what became of each tensor.

  Raises:
    UserError: the file cannot be read or holds another net.
  """
  if padding not in PADDINGS:
    raise errors.unknown("--padding", padding, PADDINGS)
  path = pathlib.Path(path)
  tensors = files.read(path)
  match = _match(path, tensors, config, padding)
  variables, report = to_ours(str(path), tensors, match.table)
  if config is not None and report.unused:
    raise UserError(
      f"{path} holds {report.unused[0]}, which a net of config.model.depth={config.model.depth}, "
      f"unit={config.model.unit!r} has not"
    )
  return match.config, variables, report


def recognize(path: str | os.PathLike) -> Any:
  """The config of the net in a weights file.

  Raises:
    UserError: the file cannot be read or holds no net that is known.
  """
  path = pathlib.Path(path)
  return _match(path, files.read(path), None, "both").config


def tensors_of(config: Any, variables: dict[str, Any]) -> tuple[files.Tensors, Report]:
  """A network under torchvision's names, or a CIFAR net under the common ones, and the report.

  Raises:
    UserError: such a net has no such names.
  """
  _check(config)
  classes = variables["params"]["classifier"]["bias"].size
  table = list(entries(LAYOUTS[EXPORTED[config.model.family]], config.model, classes, "both"))
  used = [(entry.theirs, entry.ours, entry.shape) for entry in table]
  return to_theirs(variables, table), Report(used, [], [])


def _match(path: pathlib.Path, tensors: files.Tensors, config: Any, padding: str) -> Match:
  """The likeliest net."""
  best: Match | None = None
  for layout in LAYOUTS.values():
    for candidate in _candidates(layout, tensors) if config is None else [config]:
      if candidate.model.family != layout.family:
        continue
      if layout.depths and candidate.model.depth not in layout.depths:
        continue
      _check(candidate)
      table = list(entries(layout, candidate.model, _classes(layout, tensors), padding))
      names, given = {entry.theirs for entry in table}, set(tensors)
      share = len(names & given) / len(names | given)
      if best is None or share > best.share:
        best = Match(layout, candidate, table, share)
  if best is None or best.share < 0.3:
    raise UserError(
      f"{path} holds no net that is known; its first tensors are {', '.join(list(tensors)[:3])}"
    )
  return best


def _classes(layout: Layout, tensors: files.Tensors) -> int:
  """How many the classifier tells apart, as its bias says."""
  bias = tensors.get(f"{layout.classifier}.bias")
  return 1000 if bias is None else bias.size


def _candidates(layout: Layout, tensors: files.Tensors) -> Iterator[Any]:
  """The nets of a layout; of CIFAR nets the one with as many convolutions as the file."""
  config = config_lib.default_config()
  config.model.family = layout.family
  config.model.update(layout.model)
  config.data.normalize = layout.normalize
  if layout.family == "cifar":
    convolutions = sum(tensor.ndim == 4 for tensor in tensors.values())
    config.model.depth = max(8, 6 * ((convolutions - 1) // 6) + 2)
    config.data.name = "cifar100" if _classes(layout, tensors) == 100 else "cifar10"
    yield config
    return
  config.model.projection = "B"
  config.data.name, config.data.test_split = "folder", "val"
  for unit, nets in resnet.IMAGENET_STAGES.items():
    for depth in nets:
      candidate = config.copy_and_resolve_references()
      candidate.model.unit, candidate.model.depth = unit, depth
      yield candidate


def _check(config: Any) -> None:
  """Raises a UserError for a net whose layers others have no names for."""
  model = config.model
  expected = {
    "shortcut": "identity",
    "after_add": "original",
    "projection": "B" if model.family == "imagenet" else "A",
  }
  if model.family == "cifar":
    expected["unit"] = "basic"
  for key, value in expected.items():
    if model[key] != value:
      raise UserError(
        f"config.model.{key}={model[key]!r}: other frameworks have names for the layers of "
        f"{model.family} nets with {value!r} alone"
      )
