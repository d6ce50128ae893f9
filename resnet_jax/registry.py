"""Parts by name: what a setting of the config can choose, the package's own or a user's.

    @resnet_jax.shortcut("damped", factor=0.5)
    def damped(unit, x, key):
      return unit.config.damped.factor * unit.project(x), 1

Then `config.model.shortcut="damped"` chooses it. A part's settings stand under its name beside the
key that chooses it, as config.model.damped.factor; the values given here are their defaults and
fix their types. A run's config.json names the user's file that registered what it chooses; see
`config.parts`. This module imports nothing of JAX, so that config files stay cheap to read.
"""

import dataclasses
import hashlib
import pathlib
import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from resnet_jax import errors
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
  sha256: str = ""  # of the file, as it was when it registered this


@dataclasses.dataclass(eq=False, repr=False)
class Registry(Mapping[str, Any]):
  """The parts that the setting `key` chooses among, by name; of use as a decorator.

  Args:
    kind: what messages call a part, such as "shortcut".
    key: the setting, such as "model.shortcut"; empty if no config chooses such a part.
    taken: names that the setting gives another meaning.
    within: the names of the parts that a value of the setting uses, such as the layers of an
      after_add; None: the value is the name of the part itself.
  """

  kind: str
  key: str
  taken: tuple[str, ...] = ()
  within: Callable[[str], Container[str]] | None = None
  parts: dict[str, Part] = dataclasses.field(default_factory=dict, init=False)

  def __post_init__(self):
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
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file else ""

    def register(value: Registered) -> Registered:
      before = self.parts.get(name)
      again = before and (before.file, _whose(before.value)) == (file, _whose(value))
      if name in self.taken or before and not again:  # a notebook's cell may run again
        raise UserError(f"{self.kind} {name!r} is registered already; choose another name")
      self.parts[name] = Part(value, settings, file, digest)
      return value

    return register

  def __getitem__(self, name: str) -> Any:
    return self.parts[name].value

  def chooses(self, value: str, name: str) -> bool:
    """Whether a value of the setting uses the part of that name."""
    return value == name if self.within is None else name in self.within(value)

  def label(self, name: str) -> str:
    """A part in messages and in config.json: "model.shortcut=damped", "layer GN"."""
    return f"{self.key}={name}" if self.within is None else f"{self.kind} {name}"

  def find(self, name: str) -> Any:
    """The part of that name.

    Raises:
      UserError: there is none; the nearest names are named.
    """
    if name in self.parts:
      return self.parts[name].value
    key = self.key or f"the {self.kind}"
    raise UserError(f"{errors.unknown(key, name, self)}; {self.own}")

  @property
  def own(self) -> str:
    """How a user comes to a part, for messages."""
    decorator = self.kind.replace(" ", "")
    return f"one of your own is registered by the --config file or cell with its @{decorator}"

  def __iter__(self) -> Iterator[str]:
    return iter(self.parts)

  def __len__(self) -> int:
    return len(self.parts)


def _whose(value: Any) -> Any:
  """What stays when a function is defined again; a row of text is itself."""
  return value if isinstance(value, str) else (value.__module__, value.__qualname__)


def _user_file(path: str | None) -> pathlib.Path | None:
  """The file, if it is one and not the package's."""
  file = pathlib.Path(path or "").resolve()
  return file if file.is_file() and PACKAGE not in file.parents else None
