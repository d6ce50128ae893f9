"""From what a person names to the folders of sweeps: a sweep's, a parent of several, a pattern."""

import glob
import os
import pathlib
from collections.abc import Iterable

from resnet_jax.errors import UserError

SWEEP, RUN = "sweep.json", "config.json"  # what tells their folders


def find(named: Iterable[str]) -> list[pathlib.Path]:
  """The folders of all sweeps that the names stand for, each once.

  `runs/*` is a pattern where there is no such path; of what it matches, folders without a sweep are
  left out. Brackets are never a pattern.

  Raises:
    UserError: a name stands for no sweep.
  """
  found: dict[str, pathlib.Path] = {}
  for name in named:
    path = os.path.expanduser(name)
    pattern = not os.path.lexists(path) and bool(set("*?") & set(path))
    matches = sorted(glob.glob(path.replace("[", "[[]"))) if pattern else [path]
    sweeps = [sweep for match in matches for sweep in _below(pathlib.Path(match), set())]
    if not sweeps:
      raise UserError(f"--workdir={name} holds no sweep: {_reason(pathlib.Path(path))}")
    for sweep in sweeps:
      found.setdefault(os.path.realpath(sweep), sweep)
  return list(found.values())


def _below(folder: pathlib.Path, entered: set[str]) -> list[pathlib.Path]:
  """The sweep in `folder`, or those in the folders below it, in the order of their names.

  Links are followed, but no folder is entered twice; runs and what is hidden are not entered.
  """
  if (folder / SWEEP).is_file():
    return [folder]
  real = os.path.realpath(folder)
  if real in entered or not folder.is_dir() or (folder / RUN).is_file():
    return []
  entered.add(real)
  inner = sorted(path for path in folder.iterdir() if path.name[0] != ".")
  return [sweep for path in inner for sweep in _below(path, entered)]


def _reason(path: pathlib.Path) -> str:
  if (path / RUN).is_file():
    return "it is a single run; name the folder of a sweep or one above several"
  if path.is_dir():
    return f"there is no {SWEEP} in it or below it"
  if path.exists():
    return "it is a file; name the folder of a sweep or one above several"
  return "there is no such folder" + (" that holds one" if set("*?") & set(str(path)) else "")
