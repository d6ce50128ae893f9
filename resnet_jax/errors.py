"""What can end a run before its time, each as one line for the person at the terminal."""

import difflib
from collections.abc import Iterable

EXIT_PREEMPTED = 75  # EX_TEMPFAIL: "preempted, run me again"; launchers requeue on it.


class UserError(Exception):
  """Input that cannot work: one line with the key, the value and what would be right."""


class Preempted(BaseException):
  """The run was asked to stop, saved its state and can be started again.

  Like KeyboardInterrupt no Exception: it may be raised inside any library's code.
  """


class Diverged(Exception):
  """The loss, the weights or the statistics are no longer finite."""


def unknown(key: str, value: object, known: Iterable[str]) -> UserError:
  """An error for a `value` of `key` that is none of `known`, with the nearest that are."""
  known = sorted(known)
  word = str(value)
  part = [name for name in known if len(word) > 2 and word in name]
  near = sorted(part, key=len)[:3] or difflib.get_close_matches(word, known)
  hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
  return UserError(f"{key}={value!r} is unknown; {hint}choose from {', '.join(known)}")
