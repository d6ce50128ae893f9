"""What is known of a setting: a row of the table in `settings`."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from resnet_jax.config import values


class Check(NamedTuple):
  """A limit of a number: what the message says it must be, and whether a value is within it."""

  text: str
  holds: Callable[[float], bool]


class Belongs(NamedTuple):
  """Under which values of another setting a setting is read.

  A value that is not the package's, such as a user's schedule, is taken to read all; but the
  settings of a registered part are read by this part only.
  """

  to: str  # the other setting
  only: tuple[Any, ...] = ()  # the values under which it is read
  never: tuple[Any, ...] = ()  # or those under which it is not; of a duration, its number
  # What messages say it belongs to; "": set elsewhere it is no mistake, as a sweep's rows share it.
  text: str = ""
  of: Callable[[Any], bool] | None = None  # whether a value uses the part whose setting it is

  def idle(self, other: "Setting", value: Any) -> bool:
    """Whether nothing reads the setting while the `other` one has this value."""
    if other.duration and (parsed := values.duration(value)):
      value = parsed[0]
    if self.of:
      return not self.of(value)
    return value in self.never or bool(self.only) and value in {*other.choices} - {*self.only}


@dataclasses.dataclass(frozen=True)
class Setting:
  """A row of the table."""

  default: Any  # None: the data set's own value, or the machine's
  help: str
  optional: type | None = None  # with a default of None: the type of other values
  duration: bool = False  # 100, "100", "100 steps", "8 epochs", "50000 examples", perhaps "50%"
  choices: tuple[str, ...] = ()  # the package's; registered parts come on top
  checks: tuple[Check, ...] = ()
  belongs: Belongs | None = None  # None: it is always read
  harmless: tuple[Any, ...] = ()  # values that are no mistake when nothing reads them
  resume: str = "fixed"  # "free": a resumed run may change it; "sweep": a run of a sweep, too
  roles: tuple[str, ...] = ()

  @property
  def kinds(self) -> tuple[type, ...]:
    """The types of its values; of one that may be None, the others."""
    if self.duration:
      return (int, str)
    kind = self.optional or type(self.default)
    return (float, int) if kind is float else (kind,)


def one_of(choices: tuple[str, ...], help: str, default: str = "", **more: Any) -> Setting:
  """A setting that has names to choose from; the first is the default unless another is given."""
  return Setting(default or choices[0], help, choices=choices, **more)


def number(default: float | None, help: str, *checks: Check, **more: Any) -> Setting:
  """A setting that is a number, within limits."""
  return Setting(default, help, checks=checks, **more)


def duration(default: str, help: str, **more: Any) -> Setting:
  """A setting that is a length of training, in whatever unit."""
  return Setting(default, help, duration=True, **more)
