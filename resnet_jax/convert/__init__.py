"""Weights from other frameworks, and back.

    config, variables, report = convert.load_weights("resnet50.pth")

The net is recognized from the tensors' names. What they do not tell is taken from the kind of
file: PyTorch's nets have the stride on the 3x3 convolution, Caffe's on the first 1x1.
"""

import os
import pathlib
from typing import Any

from resnet_jax import config as config_lib
from resnet_jax import errors
from resnet_jax.convert import files, layouts, translate
from resnet_jax.convert.layouts import LAYOUTS, PADDINGS, Net
from resnet_jax.convert.translate import Report
from resnet_jax.errors import UserError

__all__ = ["LAYOUTS", "PADDINGS", "Report", "info", "load_weights", "recognize", "tensors_of"]

EXPORTED = {"imagenet": "torchvision", "cifar": "cifar"}


def load_weights(
  path: str | os.PathLike, config: Any = None, padding: str = "both"
) -> tuple[Any, dict[str, Any], Report]:
  """The network in a weights file.

  Args:
    path: .safetensors, .pth, .pt, .th or .caffemodel.
    config: of the net that it must be; recognized where None.
    padding: of the shortcuts' zero channels in CIFAR nets: both sides, or the end.

  Returns:
    its config, normalizing images by the constants of the file's kind if it named none; its
    variables as `model.apply` takes them, in numpy; and what became of each tensor.

  Raises:
    UserError: the file cannot be read or holds another net, or one of other classes.
  """
  from resnet_jax.convert import network  # with JAX

  if padding not in PADDINGS:
    raise errors.unknown("--padding", padding, PADDINGS)
  path = pathlib.Path(path)
  tensors = files.read(path)
  net = _recognize(path, tensors)
  config = _config(net) if config is None else _with_constants(config, net)
  try:
    network.check(config)
  except UserError as error:
    units = ", ".join(map(str, net.units))
    raise UserError(f"{path}, with {units} {net.unit} units in its stages: {error}") from None
  data = info(config, net.classes)
  table = network.entries(net.layout, config.model, data.shape[-1], len(data.classes), padding)
  report = translate.compare(tensors, table)
  differences = _differences(net, config, len(data.classes))
  if problem := translate.misfit(tensors, table, strict=bool(differences)):
    raise UserError("; ".join([f"{path}: {problem}", *differences]))
  try:
    return config, translate.to_ours(tensors, table), report
  except UserError as error:
    raise UserError(f"{path}: {error}") from None


def recognize(path: str | os.PathLike) -> Any:
  """The config of the net in a weights file, as its tensors' names tell it; needs no JAX.

  Raises:
    UserError: the file cannot be read or holds no net that is known.
  """
  path = pathlib.Path(path)
  return _config(_recognize(path, files.read(path)))


def info(config: Any, classes: int) -> Any:
  """The `data.Info` of weights that tell so many classes apart; a data set that the config names
  is believed more than they are.
  """
  from resnet_jax import data
  from resnet_jax.data import augment

  found = data.info(config.data) if config.data.dir else data.of_weights(config.data, classes)
  augment.check_channels(config.data, found.shape[-1])
  return found


def tensors_of(config: Any, variables: dict[str, Any]) -> tuple[files.Tensors, Report]:
  """A network under torchvision's names, or a CIFAR net under the common ones, and the report.

  Raises:
    UserError: such a net has no such names.
  """
  from resnet_jax.convert import network

  network.check(config)
  layout, params = LAYOUTS[EXPORTED[config.model.family]], variables["params"]
  inputs = params["stem"]["conv"]["kernel"].shape[2]
  classes = params["classifier"]["bias"].size
  table = network.entries(layout, config.model, inputs, classes, "both")
  tensors = translate.to_theirs(variables, table)
  return tensors, translate.compare(tensors, table)


def _recognize(path: pathlib.Path, tensors: files.Tensors) -> Net:
  net = layouts.recognize(tensors)
  if net is None:
    raise UserError(
      f"{path} holds no net that is known; its first tensors are {', '.join(list(tensors)[:3])}"
    )
  return net


def _config(net: Net) -> Any:
  """The defaults, with what the net tells."""
  config = config_lib.default_config()
  config.model.family, config.model.unit, config.model.depth = net.family, net.unit, net.depth
  config.data.normalize = net.layout.normalize
  if net.family == "cifar":
    config.data.name = "cifar100" if net.classes == 100 else "cifar10"
  else:
    config.model.update({"projection": "B"} | net.layout.model)
    config.data.name, config.data.test_split = "folder", "val"
  return config


def _with_constants(config: Any, net: Net) -> Any:
  """The config given; weights come without the training set that a mean could be computed from."""
  from resnet_jax.data import augment

  config = config.copy_and_resolve_references()
  if config.data.normalize not in augment.CONSTANTS:
    config.data.normalize = net.layout.normalize
  return config


def _differences(net: Net, config: Any, classes: int) -> list[str]:
  """How the net in the file is not the config's, each as a clause."""
  from resnet_jax.models import resnet

  model, found = config.model, []
  if net.family != model.family:
    return [f"config.model.family is {model.family}, the file's net {net.family}"]
  if net.unit != model.unit:
    found.append(f"the file is of {net.unit} units, config.model.unit is {model.unit}")
  for stage, (here, there) in enumerate(
    zip(net.units, resnet.units_per_stage(model), strict=False), start=1
  ):
    if here != there:
      found.append(
        f"the file has {here} units in stage {stage}, config.model.depth={model.depth} has {there}"
      )
      break
  if net.classes != classes:
    found.append(
      f"the file tells {net.classes} classes apart, config.data.name={config.data.name!r} {classes}"
    )
  return found
