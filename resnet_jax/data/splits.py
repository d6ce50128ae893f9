"""Split strings such as `train`, `train[:45000]` and `train[80%:]`, with the meaning TFDS gives."""

import re
from collections.abc import Mapping

from resnet_jax.data.dataset import Split
from resnet_jax.errors import UserError

_PATTERN = re.compile(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


def select(key: str, text: str, parts: Mapping[str, Split]) -> Split:
  """The examples of `parts` that `text` names.

  Args:
    key: the config key that `text` came from, for the error.
    text: the name of a part, or a slice of it in examples or percent.
    parts: what there is.

  Raises:
    UserError: `text` is no split string, names no part, reaches beyond it or selects nothing.
  """
  match = _PATTERN.fullmatch(text)
  if not match or match[1] not in parts:
    raise wrong(key, text, {name: len(part.labels) for name, part in parts.items()})
  part = parts[match[1]]
  size = len(part.labels)
  start = _position(match[2], size, default=0)
  stop = _position(match[3], size, default=size)
  if not 0 <= start < stop <= size:
    raise wrong(key, text, {name: len(part.labels) for name, part in parts.items()})
  return Split(part.images[start:stop], part.labels[start:stop])


def wrong(key: str, text: str, sizes: Mapping[str, int]) -> UserError:
  """The error for a split string that selects nothing of parts with these `sizes`."""
  known = ", ".join(f"{name} ({size} examples)" for name, size in sorted(sizes.items()))
  return UserError(f"{key}={text!r} selects no examples; choose from {known} or slices of them")


def _position(text: str | None, size: int, default: int) -> int:
  if text is None:
    return default
  position = round(int(text[:-1]) * size / 100) if text.endswith("%") else int(text)
  return position + size if position < 0 else position
