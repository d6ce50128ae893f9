"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def written(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A file to write to, which becomes `path` once it is on the disk; `path` is as it was till then.

  Raises:
    OSError: it cannot be written, or its folder is not there; nothing of it is left.
  """
  partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
  try:
    with partial.open("wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)
