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
from typing import Any

from absl import flags

from resnet_jax import cli, convert
from resnet_jax import config as config_lib
from resnet_jax.errors import UserError
from resnet_jax.training import compilation

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
  out = pathlib.Path(_OUT.value or "x.safetensors")
  if out.suffix != ".safetensors" or not out.parent.is_dir():
    raise UserError(f"--out={out}: name a .safetensors file in a folder that is there")


def main(_: list[str]) -> None:
  """Imports or exports, and prints what became of each tensor."""
  cli.announce(f"importing JAX and reading {_WEIGHTS.value or _WORKDIR.value}")
  compilation.set_up()
  path = pathlib.Path(str(_WORKDIR.value))
  from resnet_jax.convert import transfer

  if _WEIGHTS.value:
    options = {"padding": _PADDING.value, "ema": _EMA.value, "normalize": _NORMALIZE.value}
    transfer.bring(pathlib.Path(_WEIGHTS.value), path, _given(), **options)
  else:
    transfer.take(path, pathlib.Path(str(_OUT.value)), _CHECKPOINT.value)


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


if __name__ == "__main__":
  cli.run(main, cli.parser(check))
