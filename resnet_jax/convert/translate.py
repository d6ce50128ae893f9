"""Between a tree of ours and tensors by another framework's names: one table, both ways."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.errors import UserError

IGNORED = ("num_batches_tracked",)  # counts of PyTorch's BN that no net needs
NAMED = 5  # of the missing tensors, in an error
# The axes of a kernel of ours in the order of theirs, and back.
THEIRS = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
OURS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


class Entry(NamedTuple):
  """One tensor there, and where it stands here."""

  theirs: str
  tree: str  # params, batch_stats
  path: tuple[str, ...]
  unit: int  # of its stage, from 0
  shape: tuple[int, ...]  # ours
  reads: np.ndarray | None  # where ours' input channels lie in theirs
  writes: np.ndarray | None

  @property
  def ours(self) -> str:
    """Its path, with the number of the unit, from 1."""
    numbered = {"first": "unit1", "rest": f"unit{self.unit + 1}"}
    return "/".join(numbered.get(part, part) for part in self.path)

  @property
  def their_shape(self) -> tuple[int, ...]:
    """Its shape there."""
    return tuple(self.shape[axis] for axis in THEIRS[len(self.shape)])


class Report(NamedTuple):
  """What became of a file's tensors: (theirs, ours, shape of ours), and names."""

  used: list[tuple[str, str, tuple[int, ...]]]
  unused: list[str]
  missing: list[str]


def compare(tensors: Mapping[str, np.ndarray], table: list[Entry]) -> Report:
  """Which tensors a net uses, which not, and which it lacks."""
  names = {entry.theirs for entry in table}
  by_number = lambda name: [
    int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)
  ]
  unused = sorted(set(tensors) - names, key=by_number)
  return Report(
    [(entry.theirs, entry.ours, entry.shape) for entry in table if entry.theirs in tensors],
    [name for name in unused if not name.endswith(IGNORED)],
    [entry.theirs for entry in table if entry.theirs not in tensors],
  )


def misfit(tensors: Mapping[str, np.ndarray], table: list[Entry], strict: bool) -> str | None:
  """What is wrong with the first tensor, in the net's order, that is missing or does not fit; if
  `strict`, with the first that the net does not use.
  """
  _, unused, missing = compare(tensors, table)
  for entry in table:
    if entry.theirs in missing:
      more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
      rest = f"; missing: {', '.join(missing[:NAMED])}{more}" if len(missing) > 1 else ""
      return f"{entry.theirs} is missing, of shape {entry.their_shape}{rest}"
    if (shape := tensors[entry.theirs].shape) != entry.their_shape:
      return f"{entry.theirs} has the shape {shape}, where the net has {entry.their_shape}"
  if strict and unused:
    return f"{unused[0]} of shape {tensors[unused[0]].shape} is no part of the net"
  return None


def to_ours(tensors: Mapping[str, np.ndarray], table: list[Entry]) -> dict[str, Any]:
  """`{"params": ..., "batch_stats": ...}` of float32 arrays, units stacked as the nets have them.

  Raises:
    UserError: a tensor, of which the name and shape do fit, holds no weights.
  """
  stacks: dict[tuple[str, ...], list[np.ndarray]] = {}
  for entry in table:
    stacks.setdefault((entry.tree, *entry.path), []).append(_ours(tensors[entry.theirs], entry))
  variables: dict[str, Any] = {}
  for path, values in stacks.items():
    node = variables
    for part in path[:-1]:
      node = node.setdefault(part, {})
    node[path[-1]] = np.stack(values) if "rest" in path else values[0]
  return variables


def _ours(tensor: np.ndarray, entry: Entry) -> np.ndarray:
  if tensor.dtype.kind in "iub":
    raise UserError(f"{entry.theirs} is of type {tensor.dtype}; weights are floating-point numbers")
  value = tensor.astype(np.float32).transpose(OURS[tensor.ndim])
  if not np.isfinite(value).all():
    raise UserError(f"{entry.theirs} holds values that are not finite")
  value = value if entry.writes is None else value[..., entry.writes]
  value = value if entry.reads is None else value[..., entry.reads, :]
  return np.ascontiguousarray(value)


def to_theirs(variables: Mapping[str, Any], table: list[Entry]) -> dict[str, np.ndarray]:
  """The inverse of `to_ours`."""
  tensors = {}
  for entry in table:
    value: Any = variables[entry.tree]
    for part in entry.path:
      value = value[part]
    value = np.asarray(value[entry.unit - 1] if "rest" in entry.path else value)
    if entry.writes is not None:
      value = value[..., np.argsort(entry.writes)]
    if entry.reads is not None:
      value = value[..., np.argsort(entry.reads), :]
    tensors[entry.theirs] = np.ascontiguousarray(value.transpose(THEIRS[value.ndim]))
  return tensors
