"""What a person writes for a setting, and what it means."""

import math
import re
from typing import Any

from resnet_jax.errors import UserError

_OPTIMIZER = (
  "the optimizer is config.optim.name; one of your own has its settings under its name, as "
  "config.optim.adamw.b1"
)
# What there is no setting for, though other codebases have one; without its group of any group.
ABSENT = dict.fromkeys(("beta1", "beta2", "optim.type", "optimizer"), _OPTIMIZER)
ABSENT["epochs"] = "the length of a run is config.train.steps, as '8 epochs'"
TELL = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def read(kind: type, text: str) -> Any:
  """A text as an int, float, bool or str; "None" is None, unless a text is asked for.

  Raises:
    ValueError: it is none; the message goes on after the setting's name.
  """
  if kind is str:
    return text
  word = text.strip().lower()
  try:
    if word == "none":
      return None
    if kind is bool:
      return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}[word]
    if kind is int:
      return int(word, 0 if word[:2] in ("0x", "0o") else 10)
    return kind(word)
  except (ValueError, KeyError):
    raise ValueError(f"must be {TELL[kind]}") from None


def steps(
  value: int | str, key: str, batch_size: int, examples: int, total: int | None = None
) -> int:
  """A duration in steps: 100, "100 steps", "8 epochs", "50000 examples", or "50%" of `total`.

  Raises:
    UserError: it is none of these, and `key` names it.
  """
  try:
    number, unit = duration(value)  # type: ignore[misc]
    per_step = {"": 1, "step": 1, "epoch": batch_size / examples, "example": batch_size}
    count = number / 100 * total if unit == "%" else number / per_step[unit]  # type: ignore[operator]
    whole = round(count) if unit == "%" else math.ceil(count - 1e-9)
  except (TypeError, ValueError, OverflowError):
    share = ", '50%'" if total is not None else ""
    raise UserError(
      f"config.{key}={value!r} is no duration; write 100, '100 steps', '8 epochs' or "
      f"'50000 examples'{share}"
    ) from None
  if whole >= 2**31:
    raise UserError(f"config.{key}={value!r} must be below 2**31 steps")
  return whole


def duration(value: int | str) -> tuple[float, str] | None:
  """A duration's number and unit ("", step, epoch, example or %), or None where it is none."""
  pattern = r"\s*([\d._]+(?:e\+?\d+)?)\s*(steps?|epochs?|examples?|%|)\s*"
  match = re.fullmatch(pattern, str(value).lower())
  try:
    return (float(match[1]), match[2].rstrip("s")) if match else None
  except ValueError:
    return None
