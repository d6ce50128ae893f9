"""Paths as users give them."""

import os
import pathlib
from collections.abc import Sequence

from resnet_jax.errors import UserError


def expand(path: str | os.PathLike, name: str) -> str:
  """`~/run` as a path in the user's home: a shell does not expand it behind `--workdir=`.

  Args:
    path: what was given; other paths stay as they are.
    name: what it was given for, for the message.

  Raises:
    UserError: `~bob/run`, and there is no user bob.
  """
  given = os.fspath(path)
  expanded = os.path.expanduser(given)
  if given.startswith("~") and expanded == given:
    user = given.split("/")[0]
    raise UserError(f"{name}={given}: no user has the home {user}; write ./{given} if it is here")
  return expanded


def cache() -> pathlib.Path:
  """The folder of this user for what can be made again, such as compiled programs."""
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(home) / "resnet_jax"


def expand_flags(argv: Sequence[str]) -> list[str]:
  """The arguments of a command with every path in the user's home written out.

  Raises:
    UserError: see `expand`.
  """
  return [_expand_flag(argument) for argument in argv]


def _expand_flag(argument: str) -> str:
  name, equals, value = argument.partition("=")
  if not (argument.startswith("-") and equals):
    name, equals, value = "", "", argument
  first, *rest = value.split(",")  # a list, such as --ensemble's
  rest = [os.path.expanduser(part) if part.startswith("~/") else part for part in rest]
  return name + equals + ",".join([expand(first, name or "the path"), *rest])
