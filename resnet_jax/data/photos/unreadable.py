"""The one exception for a photograph that cannot be used, and what raises it."""

import contextlib
import os
from collections.abc import Iterator


class Unreadable(Exception):
  """A file or a record that gives no pixels; says why, and the label where it is known."""

  def __init__(self, reason: str, label: int = -1):
    super().__init__(reason, label)
    self.reason, self.label = reason, label

  def __str__(self) -> str:
    return self.reason


@contextlib.contextmanager
def guarded() -> Iterator[None]:
  """Around what reads one photograph: whatever fails there raises `Unreadable`."""
  try:
    yield
  except Unreadable:
    raise
  except Exception as error:  # codecs raise what they like: OSError, SyntaxError, struct.error ...
    raise Unreadable(reason(error)) from None


def read(path: str | bytes | os.PathLike[str], label: int = -1) -> bytes:
  """The bytes of a file.

  Raises:
    Unreadable: it is not there, is a folder or does not fit in memory; carries the label.
  """
  try:
    with open(path, "rb") as file:
      return file.read()
  except (OSError, MemoryError) as error:
    raise Unreadable(reason(error), label) from None


def reason(error: Exception) -> str:
  """The first line of what a library or the system says."""
  if isinstance(error, MemoryError):
    return "there is not enough memory for it"
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  return str(error).strip().partition("\n")[0][:200] or type(error).__name__
