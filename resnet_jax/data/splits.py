"""Split strings with the meaning TFDS gives: `train`, `train[:45000]`, `train[80%:]`, and sums of
them such as `train[:100]+train[200:300]`.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from resnet_jax.data.dataset import Split, mapped
from resnet_jax.errors import UserError

Span = tuple[str, int, int]  # a part, and the first example taken of it and the first not

_EDGE = r"(-?\d+|-?\d+(?:\.\d+)?%)?"
_TERM = re.compile(rf"([^\[\]]+)(?:\[{_EDGE}:{_EDGE}\])?")


def select(key: str, text: str, parts: Mapping[str, Split]) -> Split:
  """The examples of `parts` that `text` names.

  Args:
    key: the config key that `text` came from, for the error.
    text: the name of a part, a slice of it in examples or percent, or a sum of such terms.
    parts: what there is.

  Raises:
    UserError: `text` is no split string, names no part, reaches beyond it or selects nothing.
  """
  spans = _spans(key, text, {name: len(part.images) for name, part in parts.items()})
  chosen = [_cut(parts[name], start, stop) for name, start, stop in spans]
  return chosen[0] if len(chosen) == 1 else _joined(chosen)


def _cut(part: Split, start: int, stop: int) -> Split:
  targets = mapped(lambda array: array[start:stop], part.targets)
  return Split(part.images[start:stop], targets, part.truth and part.truth[start:stop])


def _joined(chosen: Sequence[Split]) -> Split:
  first = chosen[0]
  images = np.concatenate([split.images for split in chosen])
  truth = None if first.truth is None else [one for split in chosen for one in split.truth or ()]
  if not isinstance(first.targets, dict):
    return Split(images, np.concatenate([split.targets for split in chosen]), truth)
  of_all = {name: [split.targets[name] for split in chosen] for name in first.targets}
  return Split(images, {name: np.concatenate(arrays) for name, arrays in of_all.items()}, truth)


def terms(text: str) -> list[str]:
  """The terms of a sum; of another split string itself."""
  return [term.strip() for term in text.split("+")]


def part(term: str) -> str:
  """The name of the part that a term, or the first of a sum, takes examples of."""
  return terms(term)[0].partition("[")[0]


def check(key: str, text: str, spans: Sequence[Span], sizes: Mapping[str, int]) -> None:
  """Raises a UserError if a span is reversed, or if no example is in any of them."""
  for name, start, stop in spans:
    if stop < start:
      raise wrong(key, text, sizes, f"{name}[{start}:{stop}] ends before it begins")
  if all(start == stop for _, start, stop in spans):
    raise wrong(key, text, sizes, "the slice is empty")


def wrong(key: str, text: str, sizes: Mapping[str, int], why: str) -> UserError:
  """The error for a split string that selects nothing of parts with these `sizes`."""
  known = ", ".join(f"{name} ({size} examples)" for name, size in sorted(sizes.items()))
  name = "train" if "train" in sizes else min(sizes, default="train")
  return UserError(
    f"{key}={text!r} selects no examples: {why}; choose from {known}, a slice such as "
    f"{name}[:90%], or a sum such as {name}[:10%]+{name}[20%:]"
  )


def _spans(key: str, text: str, sizes: Mapping[str, int]) -> list[Span]:
  """What `text` takes of parts with these `sizes`, a span for each of its terms."""
  spans = []
  for term in terms(text):
    match = _TERM.fullmatch(term)
    if not match:
      raise wrong(key, text, sizes, f"{term!r} is not a split string")
    name = match[1]
    if name not in sizes:
      raise wrong(key, text, sizes, f"there is no split {name!r}")
    size = sizes[name]
    start, stop = _position(match[2], size, 0), _position(match[3], size, size)
    if not (0 <= start <= size and 0 <= stop <= size):
      raise wrong(key, text, sizes, f"{term} reaches beyond its {size} examples")
    spans.append((name, start, stop))
  check(key, text, spans, sizes)
  return spans


def _position(text: str | None, size: int, default: int) -> int:
  if text is None:
    return default
  position = round(float(text[:-1]) * size / 100) if text.endswith("%") else int(text)
  return position + size if position < 0 else position
