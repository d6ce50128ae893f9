"""Brings weights of other frameworks into a run's folder, and a run's weights to others.

    python -m resnet_jax.convert --weights=resnet50.pth --workdir=runs/resnet50
    python -m resnet_jax.convert --workdir=runs/resnet50 --out=resnet50.safetensors

The first makes a run that has not trained: --mode=eval, resnet_jax.classify, resnet_jax.features
and configs/finetune.py take it as any other. With --config the file must hold that net. The second
writes torchvision's names, for CIFAR nets the common ones with zeros padded on both sides.
"""

import dataclasses
import hashlib
import pathlib
import sys
from typing import Any

import numpy as np
from absl import flags, logging

from resnet_jax import cli, compilation, convert, metrics, workdir
from resnet_jax import config as config_lib
from resnet_jax.errors import UserError

_WEIGHTS = flags.DEFINE_string("weights", None, "To import: .safetensors, .pth, .caffemodel.")
_OUT = flags.DEFINE_string("out", None, "To export: a .safetensors file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder, to make or to read.")
_CONFIG = flags.DEFINE_string("config", None, "Of the net that --weights must hold.")
_PADDING = flags.DEFINE_enum(
  "padding", "both", convert.PADDINGS, "Where CIFAR nets have the zero channels of their shortcuts."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "To export: last, best or a step.")


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; whatever is wrong with them ends the program with one line."""
  try:
    if rest := flags.FLAGS(argv)[1:]:
      raise UserError(f"{rest[0]!r} is not a flag; write --weights={rest[0]}")
    if bool(_WEIGHTS.value) == bool(_OUT.value):
      raise UserError("give --weights=FILE to import or --out=FILE.safetensors to export, not both")
    if not _WORKDIR.value:
      raise UserError("--workdir is missing: the run's folder, to make or to read")
    if _OUT.value and pathlib.Path(_OUT.value).suffix != ".safetensors":
      raise UserError(f"--out={_OUT.value} must end in .safetensors")
    return argv
  except (UserError, flags.Error) as error:
    cli.refuse(error)


def main(_: list[str]) -> None:
  """Imports or exports, and prints what became of each tensor."""
  logging.set_verbosity(logging.WARNING)
  compilation.use_cache()
  path = pathlib.Path(str(_WORKDIR.value))
  try:
    report = import_into(path) if _WEIGHTS.value else export_from(path)
    show(report)
  except (UserError, OSError) as error:
    sys.exit(f"error: {error}")
  print(f"{_OUT.value or path}: written")
  # Only training tells them apart: inference takes the variances as they stand.
  print("BN's running variances are kept: unbiased in PyTorch's and Caffe's nets, biased in ours")


def import_into(path: pathlib.Path) -> convert.Report:
  """Makes a run of the weights file, at step 0."""
  if workdir.read_config(path) is not None:
    raise UserError(f"--workdir={path} holds a run; name a new folder")
  given = config_lib.load_file(_CONFIG.value) if _CONFIG.value else None
  weights = pathlib.Path(str(_WEIGHTS.value))
  config, variables, report = convert.load_weights(weights, given, _PADDING.value)
  with workdir.lock(path), weights.open("rb") as file:
    save(path, config, variables)
    source = {"file": weights.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    # Last: with it the folder is a run's.
    result = {"status": "imported", "source": source, "data": known_data(config, variables)}
    metrics.write_json(path / "result.json", result)
    metrics.write_json(path / "config.json", config_lib.to_json(config))
  return report


def known_data(config: Any, variables: dict[str, Any]) -> dict[str, Any]:
  """What a run's result says of its data set, as far as the weights tell."""
  from resnet_jax import data

  info = data.of_weights(config.data, variables["params"]["classifier"]["bias"].size)
  return {"name": info.name, "shape": list(info.shape), "classes": list(info.classes)}


def save(path: pathlib.Path, config: Any, variables: dict[str, Any]) -> None:
  """Writes the checkpoint of step 0."""
  import jax

  from resnet_jax import api, data, train
  from resnet_jax.checkpoint import Checkpoints

  info = data.of_weights(config.data, variables["params"]["classifier"]["bias"].size)
  optimizer = api.task(config, info).optimizer
  params = jax.device_put(variables["params"])
  state = train.steps.TrainState(
    jax.numpy.zeros((), np.int32),
    params,
    jax.device_put(variables["batch_stats"]),
    optimizer.init(params),
  )
  checkpoints = Checkpoints(path, print)
  checkpoints.save(0, state, dataclasses.asdict(train.Position()))
  checkpoints.settle()
  checkpoints.close()
  if checkpoints.failure:
    raise UserError(f"--workdir={path} cannot be written: {checkpoints.failure}")


def export_from(path: pathlib.Path) -> convert.Report:
  """Writes the run's weights to the file."""
  import jax
  from safetensors.numpy import save_file

  from resnet_jax import api

  out = pathlib.Path(str(_OUT.value))
  if not out.parent.is_dir():
    raise UserError(f"--out={out} cannot be written: there is no folder {out.parent}")
  run = api.load_run(path, _CHECKPOINT.value)
  tensors, report = convert.tensors_of(run.config, jax.device_get(run.variables))
  partial = out.with_name(f".partial-{out.name}")
  save_file(tensors, partial, metadata={"format": "pt"})
  partial.replace(out)
  return report


def show(report: convert.Report) -> None:
  """Prints every tensor: theirs, ours, the shape of ours; then what was of no use."""
  width = max(len(theirs) for theirs, _, _ in report.used)
  for theirs, ours, shape in report.used:
    print(f"{theirs:{width}}  {ours}  {' x '.join(map(str, shape))}")
  for name in report.unused:
    print(f"{name:{width}}  unused")
  print(f"{len(report.used)} tensors used, {len(report.unused)} unused, 0 missing")


if __name__ == "__main__":
  cli.run(main, parse)
