"""Photographs on disk, found but not read.

- `folder`: `<dir>/<split>/<label>/*`; the classes are the training split's folders, sorted.
- `list`: `<dir>/<split>.txt` with lines `path label`: the path from `<dir>`, blanks allowed, and a
  number or a word; the classes are the training list's labels, sorted. Blank lines and `#` are
  skipped.

A slice such as `train[:90%]` takes its share of every class, as evenly as whole examples can be;
within it examples keep the order of their names, or of the list. Where there is no split `test`,
the default, but `val`, that is taken.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.data import splits
from resnet_jax.data.dataset import Split
from resnet_jax.errors import UserError

KINDS = ("folder", "list")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_LAYOUTS = {"folder": "<split>/<label>/*", "list": "<split>.txt"}


class Found(NamedTuple):
  """Files below `root`: their names there, their labels, and their sizes in bytes."""

  root: str
  names: Sequence[bytes]
  labels: Sequence
  sizes: Sequence[int]


def files(config) -> tuple[tuple[str, ...], Found, Found]:
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


def classes(config) -> tuple[str, ...]:
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


def below(folder: str) -> list[str]:
  """The photographs in a folder and all below it, as paths from it, sorted."""
  found = []
  for place, _, names in os.walk(folder):
    names = [name for name in names if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
  return sorted(found)


def _check_folder(config) -> None:
  if not config.dir or not os.path.isdir(config.dir):
    raise UserError(
      f"config.data.dir={config.dir!r} is no folder; config.data.name={config.name!r} needs the "
      f"one that holds {_LAYOUTS[config.name]}"
    )


def _folder(config, key: str) -> tuple[str, Found]:
  text = _split(config, key, _folders(config.dir))
  root = os.path.join(config.dir, splits.part(text))
  names: list[bytes] = []
  labels: list[str] = []
  sizes: list[int] = []
  for label in _folders(root):
    with os.scandir(os.path.join(root, label)) as entries:
      photos = sorted(
        (os.fsencode(entry.name), entry.stat().st_size)
        for entry in entries
        if entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".")
      )
    if not photos:
      raise _error(config, key, f"{root}/{label} holds no photograph ({', '.join(EXTENSIONS)})")
    names += [os.fsencode(label) + b"/" + name for name, _ in photos]
    sizes += [size for _, size in photos]
    labels += [label] * len(photos)
  if not names:
    raise _error(config, key, f"{root} holds no folders named after labels")
  return text, Found(root, names, labels, sizes)


def _listed(config, key: str) -> tuple[str, Found]:
  text, path, lines = _lines(config, key)
  sizes: list[int] = []
  for number, name, _ in lines:
    try:
      sizes.append(os.stat(os.path.join(config.dir, name)).st_size)
    except OSError:
      place = f"line {number} of {path} names {name!r}"
      raise _error(config, key, f"{place}, which is not in {config.dir}") from None
  names, labels = [os.fsencode(name) for _, name, _ in lines], [label for _, _, label in lines]
  return text, Found(config.dir, names, labels, sizes)


def _lines(config, key: str) -> tuple[str, str, list[tuple[int, str, str]]]:
  """The split string, the list's path, and number, name and label of each of its lines."""
  known = sorted(name[:-4] for name in os.listdir(config.dir) if name.endswith(".txt"))
  text = _split(config, key, known)
  path = os.path.join(config.dir, splits.part(text) + ".txt")
  found: list[tuple[int, str, str]] = []
  with open(path, encoding="utf-8", errors="surrogateescape") as lines:
    for number, line in enumerate(map(str.strip, lines), 1):
      if not line or line.startswith("#"):
        continue
      name, *label = line.rsplit(maxsplit=1)
      if not label:
        raise _error(config, key, f"line {number} of {path} is {line!r}, not 'path label'")
      found.append((number, name, label[0]))
  if not found:
    raise _error(config, key, f"{path} lists nothing")
  return text, path, found


def _selected(config, key: str, text: str, found: Found, classes: tuple[str, ...]) -> Found:
  """What a split string takes, with labels as numbers."""
  numbers = {label: number for number, label in enumerate(classes)}
  unknown = sorted(set(found.labels) - set(numbers))
  if unknown:
    raise _error(
      config,
      key,
      f"the label {unknown[0]!r} is not in config.data.train_split={config.train_split!r}, whose "
      f"{len(classes)} labels are the classes",
    )
  labels = np.array([numbers[label] for label in found.labels])
  order = _evenly(labels)
  parts = {splits.part(text): Split(order, order)}
  chosen = np.sort(splits.select(f"config.data.{key}", text, parts).labels)
  pick = lambda values: np.asarray(values)[chosen]
  return Found(found.root, pick(found.names), labels[chosen], pick(found.sizes))


def _evenly(labels: np.ndarray) -> np.ndarray:
  """An order of the examples in which every stretch has its share of each class."""
  by_class = np.argsort(labels, kind="stable")
  counts = np.bincount(labels)
  rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  place = (rank + 0.5) / np.repeat(counts, counts)
  return by_class[np.argsort(place, kind="stable")]


def _split(config, key: str, known: list[str]) -> str:
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
  with os.scandir(path) as entries:
    return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _number_or_word(label: str) -> tuple[float, str]:
  return (int(label), label) if label.removeprefix("-").isdecimal() else (float("inf"), label)


def _error(config, key: str, what: str) -> UserError:
  return UserError(f"config.data.{key}={config[key]!r}: {what}")
