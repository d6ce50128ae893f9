"""What folders hold: photographs, chosen by their endings, and a count of what is left out.

Links are followed. Hidden files and folders, whose names begin with a dot, are not looked at.
"""

import errno
import os
import re
import stat
from collections import Counter
from typing import Any, NamedTuple

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
DANGLING = "dangling links"  # or files deleted since
FOLDERS = "folders"
_CLOSED = "folders that cannot be read"
_LOOPS = "links to a folder above"
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_MOST = 8  # kinds that a line names


class Held(NamedTuple):
  """One folder: its photographs with their sizes in bytes, its folders, how many of what else."""

  photographs: list[tuple[str, int]]
  folders: list[str]
  others: Counter[str]


def look(folder: str) -> Held:
  """What a folder itself holds, in any order.

  Raises:
    OSError: it is not there or cannot be read.
  """
  held = Held([], [], Counter())
  with os.scandir(folder) as entries:
    for entry in entries:
      if entry.name.startswith("."):
        continue
      try:
        status = entry.stat()
      except OSError as error:  # a link that leads nowhere, or a file that has gone since
        if error.errno not in _GONE:
          raise
        held.others[DANGLING] += 1
        continue
      if stat.S_ISDIR(status.st_mode):
        held.folders.append(entry.name)
      elif not stat.S_ISREG(status.st_mode):
        held.others["no regular file"] += 1
      elif entry.name.lower().endswith(EXTENSIONS):
        held.photographs.append((entry.name, status.st_size))
      else:
        held.others[_ending(entry.name)] += 1
  return held


def below(folder: str) -> tuple[list[str], str]:
  """The photographs in a folder and all below it, as paths from it, sorted.

  Returns:
    the paths, and a line on what was left out, empty where nothing was.
  """
  found: list[str] = []
  others = Counter[str]()
  waiting: list[tuple[str, frozenset[Any]]] = [("", frozenset())]  # folders, and those they lie in
  while waiting:
    place, above = waiting.pop()
    path = os.path.join(folder, place)
    try:
      status, held = os.stat(path), look(path)
    except OSError:
      others[_CLOSED] += 1
      continue
    here = (status.st_dev, status.st_ino)
    if here in above:
      others[_LOOPS] += 1
      continue
    found += [os.path.join(place, name) for name, _ in held.photographs]
    waiting += [(os.path.join(place, name), above | {here}) for name in held.folders]
    others += held.others
  return sorted(found), left_out(folder, others)


def left_out(place: str, others: Counter[str]) -> str:
  """A line on what was left out in `place`; empty where nothing was."""
  total = others.total()
  if not total:
    return ""
  folders = others.keys() & {FOLDERS, _CLOSED, _LOOPS}
  one, many = ("folder", "files and folders") if folders else ("file", "files")
  what = f"1 {one} was" if total == 1 else f"{total} {many} were"
  read = " ".join(EXTENSIONS)
  return f"{place}: {what} left out: {listed(others)}; endings that are read: {read}"


def listed(others: Counter[str]) -> str:
  """How many of what, the most first, such as `.tif 10, .avif 2, no ending 2`."""
  kinds = sorted(others.items(), key=lambda item: (-item[1], item[0]))
  rest = sum(number for _, number in kinds[_MOST:])
  kinds = kinds[:_MOST] + ([("others", rest)] if rest else [])
  return ", ".join(f"{kind} {number}" for kind, number in kinds)


def _ending(name: str) -> str:
  ending = os.path.splitext(name.lower())[1]
  if not ending:
    return "no ending"
  return ending if re.fullmatch(r"\.\w{1,8}", ending, re.ASCII) else "other endings"
