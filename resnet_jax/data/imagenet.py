"""The 1000 classes of ILSVRC 2012, and their names for people."""

import functools
import pathlib

_FILE = pathlib.Path(__file__).with_name("imagenet_classes.txt")


@functools.cache
def names() -> dict[str, str]:
  """`{"n01440764": "tench, Tinca tinca", ...}`, in the order of the labels."""
  lines = _FILE.read_text().splitlines()
  return dict(line.split("\t") for line in lines if not line.startswith("#"))


def readable(label: str) -> str:
  """A class as a person would call it: a synset's first word with the synset, else the label."""
  words = names().get(label)
  return label if words is None else f"{words.split(',')[0]} ({label})"
