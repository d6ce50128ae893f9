"""Weights files of any kind as tensors by name; nothing in a file is ever executed."""

import pathlib
import pickle
import warnings
from collections.abc import Callable

import numpy as np

from resnet_jax import errors
from resnet_jax.convert import caffe
from resnet_jax.errors import UserError

Tensors = dict[str, np.ndarray]


def read(path: pathlib.Path) -> Tensors:
  """The tensors of a file, named and laid out as PyTorch does: kernels [O, I, H, W].

  Raises:
    UserError: the file is not there, damaged, of no known kind, or would run code.
  """
  if path.suffix not in READERS:
    raise errors.unknown(f"the ending of {path}", path.suffix, READERS)
  if not path.is_file():
    raise UserError(f"{path}: there is no such file")
  # The prefix is that of a net that several GPUs trained.
  named = READERS[path.suffix](path).items()
  tensors = {name.removeprefix("module."): tensor for name, tensor in named}
  if not tensors:
    raise UserError(f"{path} holds no tensors")
  return tensors


def _safetensors(path: pathlib.Path) -> Tensors:
  from safetensors.numpy import load_file

  try:
    return load_file(path)
  except Exception as error:  # of a damaged file there comes whatever the damage makes of it
    raise _unreadable(path, error) from None


def _torch(path: pathlib.Path) -> Tensors:
  try:
    import torch
  except ImportError:
    raise UserError(f"reading {path} needs PyTorch: pip install -e '.[torch]'") from None
  try:
    with warnings.catch_warnings(action="ignore"):  # whatever is wrong is told as one line
      found = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError:
    raise UserError(
      f"{path} holds more than tensors, or is damaged; it is not read, as a pickle may run code"
    ) from None
  except Exception as error:  # as above
    raise _unreadable(path, error) from None
  if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
    found = found["state_dict"]
  if not isinstance(found, dict):
    raise UserError(f"{path} holds a {type(found).__name__}, no tensors by name")
  return {
    str(name): (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    for name, tensor in found.items()
    if isinstance(tensor, torch.Tensor)
  }


def _caffe(path: pathlib.Path) -> Tensors:
  try:
    return caffe.read(path.read_bytes())
  except caffe.Damaged as error:
    raise UserError(f"{path} cannot be used: {error}") from None


def _unreadable(path: pathlib.Path, error: Exception) -> UserError:
  reason = " ".join(str(error).split())[:200]
  return UserError(f"{path} is damaged or no {path.suffix} file ({type(error).__name__}: {reason})")


READERS: dict[str, Callable[[pathlib.Path], Tensors]] = {
  ".safetensors": _safetensors,
  ".pth": _torch,
  ".pt": _torch,
  ".th": _torch,
  ".caffemodel": _caffe,
}
