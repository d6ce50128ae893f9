"""Brings weights of other frameworks into a run's folder, and a run's weights to others.

    python -m resnet_jax.convert --weights=resnet50.pth --workdir=runs/resnet50
    python -m resnet_jax.convert --workdir=runs/resnet50 --out=resnet50.safetensors

The first makes a run that has not trained: --mode=eval, resnet_jax.classify, resnet_jax.features
and configs/finetune.py take it as any other. With --config the file must hold that net. The second
writes torchvision's names, for CIFAR nets the common ones with zeros padded on both sides.

Some nets have the tensors of a plain net, and no file tells them apart: timm's resnetaa and
resnetblur, dilated nets (of segmentation), and nets that stride on the other convolution. They are
read as plain nets, whose results differ.
"""

import pathlib
import sys
from typing import Any

from absl import flags, logging

from resnet_jax import cli, compilation, convert
from resnet_jax import config as config_lib
from resnet_jax.errors import UserError

_WEIGHTS = flags.DEFINE_string(
  "weights",
  None,
  "To import: a file of PyTorch's (.pth, .pt, .th, .bin, .ckpt ...), .safetensors or .caffemodel; "
  "it is known by what it holds.",
)
_OUT = flags.DEFINE_string("out", None, "To export: a .safetensors file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder, to make or to read.")
_CONFIG = flags.DEFINE_string(
  "config", None, "With --weights: config file of the net that they must be of."
)
_PADDING = flags.DEFINE_enum(
  "padding",
  "both",
  convert.PADDINGS,
  "With --weights: where CIFAR nets have the zero channels of their shortcuts.",
)
_EMA = flags.DEFINE_bool(
  "ema", False, "With --weights: take the averaged weights of a file that has raw ones too."
)
_NORMALIZE = flags.DEFINE_string(
  "normalize",
  "",
  "With --weights: constants that images are normalized by: imagenet, caffe, or the mean and the "
  "deviation of each channel, such as 0.4914,0.4822,0.4465/0.2470,0.2435,0.2616.",
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "With --out: last, best or a step.")
# The flags of one direction; in the other they would do nothing, which is refused.
_BELONGS = dict.fromkeys(("config", "padding", "ema", "normalize"), "weights")
_BELONGS |= {"checkpoint": "out"}


def check(rest: list[str]) -> None:
  """Raises a UserError where the flags ask for neither direction, for both, or for a mixture."""
  if rest:
    raise UserError(f"{rest[0]!r} is not a flag; write --weights={rest[0]}")
  if bool(_WEIGHTS.value) == bool(_OUT.value):
    raise UserError("give --weights=FILE to import, or --out=FILE.safetensors to export")
  if not _WORKDIR.value:
    raise UserError("--workdir is missing: the run's folder, to make or to read")
  for name, direction in _BELONGS.items():
    if flags.FLAGS[name].present and not flags.FLAGS[direction].value:
      raise UserError(f"--{name} belongs to --{direction}")


def main(_: list[str]) -> None:
  """Imports or exports, and prints what became of each tensor."""
  logging.set_verbosity(logging.WARNING)
  compilation.set_up()
  path = pathlib.Path(str(_WORKDIR.value))
  try:
    if _WEIGHTS.value:
      options = {"padding": _PADDING.value, "ema": _EMA.value, "normalize": _NORMALIZE.value}
      bring(pathlib.Path(_WEIGHTS.value), path, _given(), **options)
    else:
      take(path, pathlib.Path(str(_OUT.value)), _CHECKPOINT.value)
  except (UserError, OSError) as error:
    sys.exit(f"error: {error}")


def _given() -> Any:
  """The config of the --config file, where one is named."""
  if not _CONFIG.value:
    return None
  try:
    return config_lib.load_file(_CONFIG.value)
  except UserError:
    raise
  except Exception as error:  # whatever a config file may raise
    raise UserError(f"--config={_CONFIG.value}: {type(error).__name__}: {error}") from None


def bring(weights: pathlib.Path, path: pathlib.Path, config: Any, **options: Any) -> None:
  """Makes a run in `path` of a weights file; `options` are those of `convert.load_weights`.

  Raises:
    UserError: the file does not hold such a net, or the folder is not new.
  """
  from resnet_jax.convert import runs

  runs.refuse_taken(path)
  config, variables, report = convert.load_weights(weights, config, **options)
  runs.write(path, weights, config, variables, report.fingerprint)
  show(report)
  print("BN's running variances are unbiased there and are taken as they stand, as inference does")
  print(convert.said(weights, config, report))
  print(f"{path}: a run at step 0 on {config.data.name}")


def take(path: pathlib.Path, out: pathlib.Path, checkpoint: str) -> None:
  """Writes the weights of the run in `path` to the file `out`.

  Raises:
    UserError: others have no names for the run's layers, or there is no such checkpoint.
  """
  if out.suffix != ".safetensors" or not out.parent.is_dir():
    raise UserError(f"--out={out}: name a .safetensors file in a folder that is there")
  from safetensors.numpy import save

  from resnet_jax import api
  from resnet_jax.convert import about, network

  config = api.own_config(path)
  network.check(config)
  _, _, state, position = api.restore(path, checkpoint, config)
  tensors, report = convert.tensors_of(config, state.variables)
  metadata = {"format": "pt"} | about.write(config, position["data"])
  partial = out.with_name(f".partial-{out.name}")
  try:
    partial.write_bytes(save(tensors, metadata=metadata))
    partial.replace(out)
  finally:
    partial.unlink(missing_ok=True)
  show(report)
  print("BN's running variances are the biased ones, which PyTorch's inference takes as they stand")
  print(f"{out}: of step {position['step']}; its images are normalized by {config.data.normalize}")


def show(report: convert.Report) -> None:
  """Prints every tensor: theirs, ours, the shape of ours; then what was of no use."""
  width = max(len(name) for name in [theirs for theirs, _, _ in report.used] + report.unused)
  for theirs, ours, shape in report.used:
    print(f"{theirs:{width}}  {ours}  {' x '.join(map(str, shape))}")
  for name in report.unused:
    print(f"{name:{width}}  unused")
  print(f"{len(report.used)} tensors used, {len(report.unused)} unused, 0 missing")


if __name__ == "__main__":
  cli.run(main, cli.parser(check))
