"""Weights from other frameworks, and back.

    config, variables, report = convert.load_weights("resnet50.pth")

The net is recognized from the tensors' names. What they do not tell is taken from the kind of
file: PyTorch's nets have the stride on the 3x3 convolution, Caffe's on the first 1x1. Files that
were exported here tell everything.
"""

import dataclasses
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import data
from resnet_jax.convert import about, files, layouts, relatives, translate
from resnet_jax.convert.layouts import LAYOUTS, PADDINGS, Net
from resnet_jax.convert.translate import Report
from resnet_jax.errors import UserError, unknown

# The layout that a net is exported in, by family and projection.
EXPORTED = {("imagenet", "B"): "torchvision", ("cifar", "A"): "cifar", ("cifar", "B"): "shortcut"}
GREY = "0.449/0.226"  # ImageNet's constants for images of one channel


class Weights(NamedTuple):
  """A weights file and the net that was recognized in it; the rest tell files exported here."""

  path: pathlib.Path
  contents: files.Contents
  net: Net
  told: dict[str, Any]  # settings
  fingerprint: str  # of the data set
  classes: tuple[str, ...] | None  # their names, if there are as many as the net tells apart


def load_weights(
  path: str | os.PathLike,
  config: Any = None,
  padding: str = "both",
  *,
  ema: bool = False,
  normalize: str = "",
  backbone: bool = False,
) -> tuple[Any, dict[str, Any], Report]:
  """The network in a weights file.

  Args:
    path: a file of PyTorch's, .safetensors or .caffemodel, known by what it holds.
    config: of the net that it must be; recognized where None.
    padding: of the shortcuts' zero channels in CIFAR nets: both sides, or the end.
    ema: take the averaged weights that lie beside the raw ones.
    normalize: the constants that images are normalized by, as `config.data.normalize`; empty: the
      config's, or those of the file or of its kind.
    backbone: whether a net without its classifier will do; it tells 0 classes apart.

  Returns:
    its config, with constants that normalize images; its variables as `model.apply` takes them, in
    numpy; and what became of each tensor.

  Raises:
    UserError: the file cannot be read or holds another net, or one of other classes.
  """
  if padding not in PADDINGS:
    raise unknown("--padding", padding, PADDINGS)
  weights = _find(pathlib.Path(path), ema)
  tensors, headless = weights.contents.tensors, weights.net.classes is None
  assumed = _assumed(weights, config, padding, normalize)
  config = _normalized(_config(weights) if config is None else config, weights, normalize)
  table = _table(weights, config, padding)
  computed = config.data.normalize in config_lib.COMPUTED
  report = translate.compare(tensors, table)._replace(
    notes=tuple(filter(None, (weights.contents.note, assumed))),
    fingerprint=weights.fingerprint if computed else "",
    classes=weights.classes,
  )
  if headless and not backbone:
    raise _headless(weights, report)
  try:
    variables = translate.to_ours(tensors, table)
  except UserError as error:
    raise UserError(f"{path}: {error}") from None
  if headless:
    variables["params"]["classifier"] = _no_classifier(config)
  return config, variables, report


def recognize(path: str | os.PathLike) -> Any:
  """The config of the net in a weights file, as its tensors' names tell it; needs no JAX.

  Raises:
    UserError: the file cannot be read or holds no net that is known.
  """
  return _config(_find(pathlib.Path(path)))


def said(path: str | os.PathLike, config: Any, report: Report) -> str:
  """What was read from a weights file, in one line."""
  model = config.model
  family = {"imagenet": "ImageNet", "cifar": "CIFAR"}[model.family]
  parts = [f"{family} net of {model.depth} layers", f"{model.unit} units"]
  if model.family == "cifar":
    parts.append(f"projection {model.projection}")
  elif model.unit == "bottleneck":
    parts.append(f"stride on {model.stride_on}")
  net = ", ".join([*parts, f"normalized by {config.data.normalize}"])
  return "; ".join([f"{pathlib.Path(path).name}: {net}", report.counts(), *report.notes])


def info(config: Any, classes: int, names: tuple[str, ...] | None = None) -> Any:
  """The `data.Info` of weights that tell so many classes apart, 0 if they have no classifier; a
  data set that the config names is believed more than they are. `names` are the classes', if known.
  """
  from resnet_jax.data import augment

  known = data.info(config.data) if config.data.dir else data.of_weights(config.data, classes)
  augment.check_channels(config.data, known.shape[-1])
  if names is not None or not classes:
    known = dataclasses.replace(known, classes=names or ())
  return known


def tensors_of(config: Any, variables: dict[str, Any]) -> tuple[files.Tensors, Report]:
  """A network under torchvision's names, or a CIFAR net under the common ones, and the report.

  Raises:
    UserError: such a net has no such names.
  """
  from resnet_jax.convert import network

  network.check(config)
  layout = LAYOUTS[EXPORTED[config.model.family, config.model.projection]]
  inputs = variables["params"]["stem"]["conv"]["kernel"].shape[2]
  classes = variables["params"]["classifier"]["bias"].size
  table = network.entries(layout, config.model, inputs, classes, "both")
  tensors = translate.to_theirs(variables, table)
  return tensors, translate.compare(tensors, table)


def _find(path: pathlib.Path, ema: bool = False) -> Weights:
  contents = files.read(path, ema)
  net = layouts.recognize(contents.tensors)
  if net is None:
    weights = (name for name in contents.tensors if not name.endswith(translate.IGNORED))
    first = ", ".join(sorted(weights, key=translate.natural)[:3])
    raise UserError(
      f"{path} holds no net that is known; its first tensors are {first}"
      f"{relatives.hint(contents.tensors)}"
    )
  told, fingerprint, names = about.read(path, contents.metadata)
  classes = tuple(names) if names and len(names) == net.classes else None
  return Weights(path, contents, net, told, fingerprint, classes)


def _config(weights: Weights) -> Any:
  """The defaults, with what the net and the file tell."""
  net, config = weights.net, config_lib.default_config()
  config.model.update(family=net.family, unit=net.unit, depth=net.depth, projection=net.projection)
  config.data.normalize = net.layout.normalize
  if net.family == "cifar" and net.channels == 1:
    config.data.name, config.data.normalize = "mnist", GREY
  elif net.family == "cifar":
    config.data.name = "cifar100" if net.classes == 100 else "cifar10"
  else:
    config.model.update(net.layout.model)
    config.data.name, config.data.test_split = "folder", "val"
  config.update_from_flattened_dict(weights.told)
  return config


def _normalized(config: Any, weights: Weights, given: str) -> Any:
  """The config with constants; weights come without the training set to compute a mean of, unless
  they were exported here and the config names that very set.

  Raises:
    UserError: such constants there are not, or the set is another.
  """
  from resnet_jax.data import augment

  config = config.copy_and_resolve_references()
  theirs, ours = _config(weights).data, config.data
  if given:
    if given in config_lib.COMPUTED:
      raise UserError(
        f"--normalize={given} is computed of a training set, which a weights file does not bring; "
        f"write {', '.join(augment.CONSTANTS)} or numbers such as {augment.EXAMPLE}"
      )
    augment.check(given)
    ours.normalize = given
  elif ours.normalize in config_lib.COMPUTED:
    same = (ours.name, ours.train_split) == (theirs.name, theirs.train_split)
    if theirs.normalize in config_lib.COMPUTED and not same:
      raise UserError(
        f"{weights.path}: its images were normalized by {theirs.normalize} of {theirs.name}, which "
        f"config.data.name={ours.name!r} does not give; say by which constants with --normalize"
      )
    ours.normalize = theirs.normalize
  return config


def _table(weights: Weights, config: Any, padding: str) -> list[translate.Entry]:
  """The tensors that the config's net is made of, once the file is seen to hold all of them, and
  none that is left over.
  """
  from resnet_jax.convert import network  # with JAX

  net, tensors = weights.net, weights.contents.tensors
  try:
    network.check(config)
  except UserError as error:
    units = ", ".join(map(str, net.units))
    raise _refusal(weights, f"with {units} {net.unit} units in its stages: {error}") from None
  known = info(config, net.classes or 0)
  table = network.entries(net.layout, config.model, known.shape[-1], len(known.classes), padding)
  if net.classes is None:
    table = [entry for entry in table if entry.path[0] != "classifier"]
  if problem := translate.misfit(tensors, table, net.layout.own.match):
    raise _refusal(weights, problem, *_differences(net, config, len(known.classes)))
  values = config_lib.leaves(config)
  for key, told in weights.told.items():
    idle = key == "model.stride_on" and config.model.unit == "basic"
    if key.startswith("model.") and not idle and told != values[key]:
      raise UserError(
        f"{weights.path}: it was exported from a net with {key}={told!r}; config.{key} is "
        f"{values[key]!r}"
      )
  return table


def _assumed(weights: Weights, config: Any, padding: str, normalize: str) -> str:
  """What of a CIFAR net no file tells and nobody has said."""
  if weights.net.family != "cifar" or weights.told:
    return ""
  told = normalize or config is not None and config.data.normalize not in config_lib.COMPUTED
  guesses = [] if told else ["the normalization (convert --normalize)"]
  if weights.net.projection == "A" and padding == "both":
    guesses.append("zeros padded on both sides (convert --padding)")
  return f"assumed: {' and '.join(guesses)}" if guesses else ""


def _refusal(weights: Weights, *clauses: str) -> UserError:
  hint = relatives.hint(weights.contents.tensors, weights.net)
  return UserError(f"{weights.path}: {'; '.join(clauses)}{hint}")


def _headless(weights: Weights, report: Report) -> UserError:
  unused = f", but {', '.join(report.unused[: translate.NAMED])}" if report.unused else ""
  return UserError(
    f"{weights.path}: {weights.net.layout.classifier}.weight is missing: the file holds no "
    f"classifier{unused}; resnet_jax.features and configs/finetune.py take the file itself as it is"
  )


def _no_classifier(config: Any) -> dict[str, np.ndarray]:
  """The parameters of a classifier for no class."""
  from resnet_jax.convert import network

  *_, classifier = network.layers(config.model, 3, 0)
  return {"kernel": np.zeros(classifier.shape, np.float32), "bias": np.zeros(0, np.float32)}


def _differences(net: Net, config: Any, classes: int) -> list[str]:
  """How the net in the file is not the config's, each as a clause."""
  from resnet_jax.models import resnet

  model, clauses = config.model, []
  if net.family != model.family:
    return [f"config.model.family is {model.family}, the file's net {net.family}"]
  if net.unit != model.unit:
    clauses.append(f"the file is of {net.unit} units, config.model.unit is {model.unit}")
  if net.projection != model.projection:
    clauses.append(
      f"the file's net has projection {net.projection}, config.model.projection is "
      f"{model.projection}"
    )
  stages = zip(net.units, resnet.units_per_stage(model), strict=False)
  for stage, (theirs, ours) in enumerate(stages, start=1):
    if theirs != ours:
      depth = f"config.model.depth={model.depth}"
      clauses.append(f"the file has {theirs} units in stage {stage}, {depth} has {ours}")
      break
  if net.classes not in (None, classes):
    clauses.append(
      f"the file tells {net.classes} classes apart, config.data.name={config.data.name!r} {classes}"
    )
  return clauses
