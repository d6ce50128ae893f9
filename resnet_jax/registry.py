"""Parts by name: what a setting of the config can choose, the package's own or a user's.

    @resnet_jax.shortcut("damped", factor=0.5)
    def damped(unit, x, key):
      return unit.config.damped.factor * unit.project(x), 1

Then `config.model.shortcut="damped"` chooses it. A part's settings stand under its name beside the
key that chooses it, as config.model.damped.factor; the values given here are their defaults and
fix their types. This module imports nothing of JAX, so that config files stay cheap to read.
"""

import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from resnet_jax.errors import UserError

PACKAGE = pathlib.Path(__file__).resolve().parent
REGISTRIES: list["Registry"] = []
Value = bool | int | float | str
Registered = TypeVar("Registered")


class Part(NamedTuple):
  """What a name stands for."""

  value: Any
  settings: Mapping[str, Value]  # its own, with their defaults
  file: pathlib.Path | None  # the user's file that registered it; None: the package, a notebook


class Registry(Mapping[str, Any]):
  """The parts that the setting `key` chooses among, by name; of use as a decorator.

  Args:
    kind: what messages call a part, such as "shortcut".
    key: the setting, such as "model.shortcut".
  """

  def __init__(self, kind: str, key: str):
    self.kind, self.key = kind, key
    self.parts: dict[str, Part] = {}
    REGISTRIES.append(self)

  def __call__(self, name: str, **settings: Value) -> Callable[[Registered], Registered]:
    """Registers what is decorated under `name`.

    Raises:
      UserError: the name is another part's or no name, or a setting's default has no type that a
        setting can have.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
      raise UserError(f"{self.kind} {name!r} must be called by letters, digits and _")
    for key, value in settings.items():
      if not isinstance(value, Value):
        raise UserError(
          f"{self.kind} {name!r}: its setting {key}={value!r} must be a number, a text or a bool"
        )

    file = _user_file(sys._getframe(1).f_globals.get("__file__"))

    def register(value: Registered) -> Registered:
      before = self.parts.get(name)
      if before and _whose(before.value) != _whose(value):  # a notebook's cell may run again
        raise UserError(f"{self.kind} {name!r} is registered already; choose another name")
      self.parts[name] = Part(value, settings, file)
      return value

    return register

  def __getitem__(self, name: str) -> Any:
    return self.parts[name].value

  def __iter__(self) -> Iterator[str]:
    return iter(self.parts)

  def __len__(self) -> int:
    return len(self.parts)

  def settings(self) -> dict[str, Value]:
    """The settings of all parts with their defaults: {"model.damped.factor": 0.5}."""
    group = self.key.rpartition(".")[0]
    return {
      f"{group}.{name}.{key}": default
      for name, part in self.parts.items()
      for key, default in part.settings.items()
    }


def _whose(value: Any) -> Any:
  """What stays when a function is defined again; a row of text is itself."""
  return value if isinstance(value, str) else (value.__module__, value.__qualname__)


def _user_file(path: str | None) -> pathlib.Path | None:
  """The file, if it is one and not the package's."""
  if path is None or PACKAGE in pathlib.Path(path).resolve().parents:
    return None
  return pathlib.Path(path).resolve()
