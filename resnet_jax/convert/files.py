"""Weights files of any kind as tensors by name; nothing in a file is ever executed.

A file is known by its first bytes, whatever its name; by its ending where they tell nothing.
"""

import json
import pathlib
import pickle
import re
import shlex
import warnings
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.convert import caffe
from resnet_jax.errors import UserError

Tensors = dict[str, np.ndarray]


class Contents(NamedTuple):
  """What a file holds."""

  tensors: Tensors
  note: str = ""  # which weights were taken, if the file has averaged ones
  metadata: dict[str, str] = {}


# The first bytes of a file, and which reader takes it, or what it is instead; the first that fits.
KINDS = {
  rb".{5}\0\0\0\{": "safetensors",  # the length of the header, then JSON
  rb"PK\x03\x04|\x80[\x02-\x05]": "torch",  # a zip, or in older files a pickle
  rb"\s*<(!|\?|(?i:html|head))": "a web page",
  rb"version https://git-lfs": "a Git LFS pointer; git lfs pull fetches the file itself",
  rb"\x89HDF": "an HDF5 file, as Keras writes",
  rb"\x1f\x8b": "compressed; unpack it with gunzip",
  rb"\n|\xa2\x06|\x12": "caffemodel",  # the net's name, a layer, or one of the oldest format
}
ENDINGS = dict.fromkeys((".pth", ".pt", ".th", ".tar", ".ckpt", ".bin"), "torch")
ENDINGS |= {".safetensors": "safetensors", ".caffemodel": "caffemodel"}
# Under which names training scripts save the weights among other things. Averaged weights have
# names like state_dict_ema or model_ema.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
# What wraps a net's names: several GPUs, torch.compile, a module that holds the net.
PREFIX = re.compile(r"^(?:(?:module|_orig_mod|model|net|backbone|body)\.)+")
TORCH_TYPES = re.compile(r"bool|uint8|int(8|16|32|64)|float(16|32|64)|bfloat16")
SAFE_TYPES = re.compile(r"BOOL|[UI](8|16|32|64)|F(16|32|64)|BF16")
# Packages whose classes data are often saved with; of others no advice is given to run them.
HARMLESS = ("argparse", "collections", "datetime", "numpy", "omegaconf", "pathlib", "torch")
# For a file that weights-only reading refuses: keeps what holds tensors.
STRIP = (
  "import torch; w = torch.load({source}, 'cpu', weights_only=False); "
  "w = getattr(w, 'state_dict', lambda: w)(); t = torch.is_tensor; "
  "torch.save({{k: v for k, v in w.items() "
  "if t(v) or isinstance(v, dict) and any(map(t, v.values()))}}, {target})"
)


def read(path: pathlib.Path, ema: bool = False) -> Contents:
  """The tensors of a file, named and laid out as PyTorch does: kernels [O, I, H, W].

  Args:
    path: the file.
    ema: take the averaged weights that lie beside the raw ones.

  Raises:
    UserError: the file is not there, damaged, of no known kind, or would run code.
  """
  if not path.is_file():
    raise UserError(f"{path}: there is no such file")
  contents = READERS[_kind(path)](path, ema)
  if ema and "ema" not in contents.note:
    raise UserError(f"--ema: {path} holds no averaged weights, such as state_dict_ema")
  if not contents.tensors:
    raise UserError(f"{path} holds no tensors")
  return contents._replace(tensors=_stripped(path, contents.tensors))


def _kind(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    head = file.read(32)
  for pattern, kind in KINDS.items():
    if re.match(pattern, head, re.DOTALL):
      if kind in READERS:
        return kind
      raise UserError(f"{path} is no weights file that is known, but {kind}")
  if path.suffix.lower() in ENDINGS:
    return ENDINGS[path.suffix.lower()]
  raise UserError(
    f"{path} is no weights file that is known: it begins with {head[:8]!r}; PyTorch's files, "
    ".safetensors and .caffemodel are read"
  )


def _stripped(path: pathlib.Path, named: Tensors) -> Tensors:
  """The tensors without the prefixes of what the net was wrapped in."""
  origins: dict[str, str] = {}
  for name in named:
    short = PREFIX.sub("", name)
    if short in origins:
      raise UserError(
        f"{path} holds more than one net: {short} is there as {origins[short]} and as {name}"
      )
    origins[short] = name
  return {short: named[name] for short, name in origins.items()}


def _safetensors(path: pathlib.Path, _: bool) -> Contents:
  import ml_dtypes  # noqa: F401  NumPy knows bfloat16 from it
  from safetensors import safe_open
  from safetensors.numpy import load_file

  try:
    with safe_open(path, framework="np") as file:
      types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
      metadata = file.metadata() or {}
    odd = next((name for name, type_ in types.items() if not SAFE_TYPES.fullmatch(type_)), None)
    tensors = {} if odd else load_file(path)
  except Exception as error:  # of a damaged file there comes whatever the damage makes of it
    raise _unreadable(path, ".safetensors", error) from None
  if odd:
    raise _unsupported(path, odd, types[odd])
  return Contents(tensors, metadata=metadata)


def _torch(path: pathlib.Path, ema: bool) -> Contents:
  try:
    import torch
  except ImportError:
    raise UserError(f"reading {path} needs PyTorch: pip install -e '.[torch]'") from None
  try:
    # Whatever is wrong is told as one line; of a path torch.load would heed the ending.
    with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
      found = torch.load(file, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise _refused(path, error) from None
  except Exception as error:  # as above
    raise _unreadable(path, "PyTorch", error) from None
  found, note = _unwrapped(found, ema)
  if not isinstance(found, dict):
    raise UserError(f"{path} holds a {type(found).__name__}, no tensors by name")
  tensors = {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}
  entries = [str(key) for key, value in found.items() if isinstance(value, dict)]
  if not tensors and entries:
    raise UserError(
      f"{path} holds no tensors under a name that is known, such as state_dict; its entries are "
      f"{', '.join(entries)}"
    )
  return Contents({name: _array(path, name, value) for name, value in tensors.items()}, note)


def _unwrapped(found: Any, ema: bool) -> tuple[Any, str]:
  """The dictionary of weights in what a training script saved, and which one it is."""
  note = ""
  while isinstance(found, dict):
    inner = [key for key, value in found.items() if isinstance(value, dict) and value]
    raw = [key for key in WRAPPERS if key in inner]
    averaged = [key for key in inner if isinstance(key, str) and "ema" in key.split("_")]
    taken = [*averaged, *raw] if ema else [*raw, *averaged]
    if not taken:
      break
    found = found[taken[0]]
    if averaged and taken[0] in averaged:
      note = f"took {taken[0]}" + (f", not {raw[0]}" if raw else ", the file's only weights")
    elif averaged:
      note = f"took {taken[0]}, not {averaged[0]}, which resnet_jax.convert --ema takes"
  return found, note


def _array(path: pathlib.Path, name: str, tensor: Any) -> np.ndarray:
  import torch

  type_ = str(tensor.dtype).removeprefix("torch.")
  if not TORCH_TYPES.fullmatch(type_):
    raise _unsupported(path, name, type_)
  if tensor.layout != torch.strided or tensor.device.type != "cpu":
    raise UserError(f"{path}: {name} is sparse or holds no values; save it as a dense tensor")
  return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()


def _caffe(path: pathlib.Path, _: bool) -> Contents:
  try:
    return Contents(caffe.read(path.read_bytes()))
  except caffe.Damaged as error:
    raise UserError(f"{path} cannot be used: {error}") from None


def _unsupported(path: pathlib.Path, name: str, type_: str) -> UserError:
  return UserError(
    f"{path}: {name} is of type {type_}, which is not supported; save the weights as float32, "
    "float16 or bfloat16"
  )


def _unreadable(path: pathlib.Path, kind: str, error: Exception) -> UserError:
  reason = " ".join(str(error).split())[:200]
  return UserError(f"{path} is damaged or no {kind} file ({type(error).__name__}: {reason})")


def _refused(path: pathlib.Path, error: Exception) -> UserError:
  """What to say of a pickle with more than tensors in it; of harmless things, how to strip it."""
  found = re.search(r"GLOBAL ([\w.]+)", str(error))
  more = f" ({found[1]})" if found else ", or is damaged"
  text = f"{path} holds more than tensors{more}; it is not read, as a pickle may run code"
  if not found or found[1].split(".")[0] not in HARMLESS:
    return UserError(text)
  names = {"source": json.dumps(str(path)), "target": json.dumps(f"{path.stem}-stripped.pth")}
  code = STRIP.replace("'", '"').format(**names)
  return UserError(
    f"{text}. If you trust the file, strip it where it can do no harm: "
    f"python -c {shlex.quote(code)}"
  )


READERS = {"safetensors": _safetensors, "torch": _torch, "caffemodel": _caffe}
