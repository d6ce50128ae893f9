"""Photographs on disk, found but not read.

- `folder`: `<dir>/<split>/<label>/*`; the classes are the training split's folders, sorted.
- `list`: `<dir>/<split>.txt`, in UTF-8, with lines `path label`: the path from `<dir>`, blanks
  allowed, and a number or a word; the classes are the training list's labels, sorted. Blank lines
  and `#` are skipped.

Files of a folder are chosen by their endings; what else is there is counted, see `listing`. A list
takes every file that it names.

A slice such as `train[:90%]` takes its share of every class, as evenly as whole examples can be;
within it examples keep the order of their names, or of the list. Where there is no split `test`,
the default, but `val`, that is taken.
"""

import codecs
import io
import os
import pathlib
import stat
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.data import splits
from resnet_jax.data.dataset import Split
from resnet_jax.data.photos import listing
from resnet_jax.errors import UserError

KINDS = ("folder", "list")
_LAYOUTS = {"folder": "<split>/<label>/*", "list": "<split>.txt"}
_MARKS = {  # that begin a text; UTF-32 is before UTF-16, which begins alike
  "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
  "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


class Found(NamedTuple):
  """Files below `root`: their names there, their labels, and their sizes in bytes.

  `left_out` is a line on the files that were found but not taken, empty if there are none.
  """

  root: str
  names: Sequence[bytes]
  labels: Sequence[Any]
  sizes: Sequence[int]
  left_out: str = ""


def files(config: Any) -> tuple[tuple[str, ...], Found, Found]:
  """The classes, and the files to train and to test on; their labels are numbers of classes.

  Raises:
    UserError: something is missing or empty, or has a label that the training split has not.
  """
  _check_folder(config)
  read, order = (_folder, str) if config.name == "folder" else (_listed, _number_or_word)
  parts = {key: read(config, key) for key in ("train_split", "test_split")}
  classes = tuple(sorted(set(parts["train_split"][1].labels), key=order))
  train, test = (_selected(config, key, *part, classes) for key, part in parts.items())
  return classes, train, test


def classes(config: Any) -> tuple[str, ...]:
  """The labels of the training split, in order, without a look at the photographs.

  Raises:
    UserError: the folder or the split is missing.
  """
  _check_folder(config)
  if config.name == "folder":
    text = _split(config, "train_split", _folders(config.dir))
    return tuple(_folders(os.path.join(config.dir, splits.part(text))))
  labels = {label for _, _, label in _lines(config, "train_split")[2]}
  return tuple(sorted(labels, key=_number_or_word))


def _check_folder(config: Any) -> None:
  if not config.dir or not os.path.isdir(config.dir):
    raise UserError(
      f"config.data.dir={config.dir!r} is no folder; config.data.name={config.name!r} needs the "
      f"one that holds {_LAYOUTS[config.name]}"
    )


def _folder(config: Any, key: str) -> tuple[str, Found]:
  text = _split(config, key, _folders(config.dir))
  root = os.path.join(config.dir, splits.part(text))
  names, labels, sizes = list[bytes](), list[str](), list[int]()
  beside = listing.look(root)
  others = Counter({"beside the class folders": len(beside.photographs)})
  others[listing.DANGLING] = beside.others[listing.DANGLING]
  for label in sorted(beside.folders):
    held = listing.look(os.path.join(root, label))
    held.others[listing.FOLDERS] = len(held.folders)
    if not held.photographs:
      endings = ", ".join(listing.EXTENSIONS)
      instead = f", but {listing.listed(+held.others)}" if +held.others else ""
      raise _error(config, key, f"{root}/{label} holds no photograph ({endings}){instead}")
    photos = sorted((os.fsencode(name), size) for name, size in held.photographs)
    names += [os.fsencode(label) + b"/" + name for name, _ in photos]
    sizes += [size for _, size in photos]
    labels += [label] * len(photos)
    others += held.others
  if not names:
    raise _error(config, key, f"{root} holds no folders named after labels")
  return text, Found(root, names, labels, sizes, listing.left_out(root, +others))


def _listed(config: Any, key: str) -> tuple[str, Found]:
  text, path, lines = _lines(config, key)
  sizes = []
  for number, name, _ in lines:
    place = f"line {number} of {path} names {name!r}"
    try:
      status = os.stat(os.path.join(config.dir, name))
    except OSError:
      raise _error(config, key, f"{place}, which is not in {config.dir}") from None
    if not stat.S_ISREG(status.st_mode):
      what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
      raise _error(config, key, f"{place}, which is {what}")
    sizes.append(status.st_size)
  names, labels = [os.fsencode(name) for _, name, _ in lines], [label for _, _, label in lines]
  return text, Found(config.dir, names, labels, sizes)


def _lines(config: Any, key: str) -> tuple[str, str, list[tuple[int, str, str]]]:
  """The split string, the list's path, and number, name and label of each of its lines."""
  known = sorted(name[:-4] for name in os.listdir(config.dir) if name.endswith(".txt"))
  text = _split(config, key, known)
  path = os.path.join(config.dir, splits.part(text) + ".txt")
  found: list[tuple[int, str, str]] = []
  for number, line in enumerate(map(str.strip, _text(config, key, path)), 1):
    if not line or line.startswith("#"):
      continue
    name, *label = line.rsplit(maxsplit=1)
    if not label:
      raise _error(config, key, f"line {number} of {path} is {line!r}, not 'path label'")
    found.append((number, name, label[0]))
  if not found:
    raise _error(config, key, f"{path} lists nothing")
  return text, path, found


def _text(config: Any, key: str, path: str) -> io.StringIO:
  """The lines of a list; bytes that are not UTF-8 stay what they are, as in a file's name."""
  coded = pathlib.Path(path).read_bytes()
  encoding = next((name for name, marks in _MARKS.items() if coded.startswith(marks)), None)
  if encoding is None and b"\0" in coded:
    encoding = "not UTF-8 (it holds zero bytes)"
  if encoding:
    raise _error(config, key, f"{path} is {encoding}; save it as UTF-8")
  return io.StringIO(coded.decode("utf-8-sig", "surrogateescape"), newline=None)


def _selected(config: Any, key: str, text: str, found: Found, classes: tuple[str, ...]) -> Found:
  """What a split string takes, with labels as numbers."""
  unknown = sorted(set(found.labels) - set(classes))
  if unknown:
    whose = f"config.data.train_split={config.train_split!r}, whose {len(classes)} labels"
    raise _error(config, key, f"the label {unknown[0]!r} is not in {whose} are the classes")
  numbers = {label: number for number, label in enumerate(classes)}
  labels = np.array([numbers[label] for label in found.labels])
  order = _evenly(labels)
  parts = {splits.part(text): Split(order, order)}
  chosen = np.sort(splits.select(f"config.data.{key}", text, parts).images)
  names, sizes = (np.asarray(values)[chosen] for values in (found.names, found.sizes))
  return found._replace(names=names, labels=labels[chosen], sizes=sizes)


def _evenly(labels: np.ndarray) -> np.ndarray:
  """An order of the examples in which every stretch has its share of each class."""
  by_class = np.argsort(labels, kind="stable")
  counts = np.bincount(labels)
  rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  place = (rank + 0.5) / np.repeat(counts, counts)
  return by_class[np.argsort(place, kind="stable")]


def _split(config: Any, key: str, known: list[str]) -> str:
  """The split string of `key`, once its split is one of `known`."""
  terms = splits.terms(config[key])
  name, *others = dict.fromkeys(map(splits.part, terms))
  if others:
    why = f"a sum takes slices of one split, such as {name}[:10%]+{name}[20%:]"
    raise _error(config, key, f"{name!r} and {others[0]!r} are two splits; {why}")
  if key == "test_split" and name == "test" and "test" not in known and "val" in known:
    name, terms = "val", ["val" + term.removeprefix("test") for term in terms]
  if name not in known:
    has = ", ".join(known[:20]) or "none"
    layout = _LAYOUTS[config.name]
    raise _error(config, key, f"{config.dir} has no split {name!r} ({layout}); it has {has}")
  return "+".join(terms)


def _folders(path: str) -> list[str]:
  return sorted(listing.look(path).folders)


def _number_or_word(label: str) -> tuple[float, str]:
  return (int(label), label) if label.removeprefix("-").isdecimal() else (float("inf"), label)


def _error(config: Any, key: str, what: str) -> UserError:
  return UserError(f"config.data.{key}={config[key]!r}: {what}")
