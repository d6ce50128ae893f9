"""Where config and sweep files are found, and what `from configs import common` is in them.

A path is looked up from the current folder first and then among the configs that come with the
package: those of the checkout, or of the wheel.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import sys
import types
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any

from resnet_jax.errors import UserError

NAME = "configs"
PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# What a file is that has a function, and which command takes it.
_FILES = {
  "get_config": ("a config file of one run", "resnet_jax.main"),
  "get_sweep": ("a sweep file", "resnet_jax.sweep"),
  "get_study": ("a study file", "resnet_jax.study"),
}


def packaged() -> pathlib.Path:
  """The folder of the configs that come with the package."""
  in_wheel = PACKAGE / NAME
  return in_wheel if in_wheel.is_dir() else PACKAGE.parent / NAME


def find(path: str) -> pathlib.Path:
  """The file of that path; `configs/resnet.py` may be the package's.

  Raises:
    UserError: there is none; the places that were searched are named.
  """
  here = pathlib.Path(os.path.expanduser(path))
  if here.is_file():
    return here
  searched = "" if here.is_absolute() else f" in {pathlib.Path.cwd()}"
  if here.parts[:1] == (NAME,):
    ours = packaged().joinpath(*here.parts[1:])
    if ours.is_file():
      return ours
    if ours.resolve() != here.resolve():
      searched += f", and no {ours}"
  raise UserError(
    f"--config={path!r}: there is no file {path!r}{searched}; arguments follow a colon, as "
    "configs/resnet.py:depth=20,digits"
  )


@contextlib.contextmanager
def importable(path: str | os.PathLike) -> Iterator[None]:
  """Lets the config file `path` import `configs`, whatever that name means before and afterwards.

  It is the folder of that name that the file lies in, or else the one in the current folder or on
  Python's path. What is not there is taken from the package's, as `configs.common`.
  """
  before = _forget()
  try:
    _import(pathlib.Path(path))
    yield
  finally:
    _forget()
    sys.modules.update(before)


def _forget() -> dict[str, types.ModuleType]:
  """Takes the module `configs` and those in it out of `sys.modules`."""
  names = [name for name in sys.modules if name.partition(".")[0] == NAME]
  return {name: sys.modules.pop(name) for name in names}


def _import(path: pathlib.Path) -> None:
  """Imports `configs` for the file `path`, with the package's as a second place of its modules."""
  parents = [folder.parent for folder in path.resolve().parents if folder.name == NAME]
  for folder in parents:
    # What lies beside a user's configs can be imported too; beside a wheel's there are only our
    # modules, whose names (data, setup ...) would hide others.
    if folder != PACKAGE and str(folder) not in sys.path:
      sys.path.append(str(folder))
  roots = [*map(str, parents), "", *sys.path, str(packaged().parent)]  # "" is the current folder
  specs = (PathFinder.find_spec(NAME, [root]) for root in roots)
  spec = next(filter(None, specs), None)
  if spec is None:
    return
  module = importlib.util.module_from_spec(spec)
  places = [*(spec.submodule_search_locations or ()), str(packaged())]
  module.__path__ = list(dict.fromkeys(places))
  sys.modules[NAME] = module
  if spec.loader:
    spec.loader.exec_module(module)


def call(spec: str, function: str) -> tuple[types.ModuleType, Any]:
  """The module of a config or sweep file, and what its function returns for the argument.

  Raises:
    UserError: there is no such file, or it has no such function.
  """
  path, _, argument = spec.partition(":")
  file = find(path)
  _refuse_other_kind(file, spec, function)
  with importable(file):
    module = _executed(file)
    if not hasattr(module, function):
      raise UserError(f"--config={spec!r}: {path!r} has no function {function}")
    get = getattr(module, function)
    return module, get(argument) if argument else get()


def execute(path: pathlib.Path) -> None:
  """Executes a config file for the sake of what it registers.

  Raises:
    UserError: it raises anything.
  """
  try:
    with importable(path):
      _executed(path)
  except Exception as error:  # whatever a file may raise
    raise UserError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def _executed(path: pathlib.Path) -> types.ModuleType:
  spec = importlib.util.spec_from_file_location("config_file", path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _refuse_other_kind(path: pathlib.Path, spec: str, function: str) -> None:
  """Raises a UserError for a sweep file where a config file is asked for, and the reverse."""
  text = path.read_text(errors="replace")
  there = [name for name in _FILES if re.search(rf"\b{name}\b", text)]
  if there and function not in there:
    kind, command = _FILES[there[0]]
    raise UserError(f"{spec} is {kind}; run it by python -m {command} --config={spec}")
