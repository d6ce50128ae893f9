"""Between a tree of ours and tensors by another framework's names: one table, both ways."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.errors import UserError

# Counts of PyTorch's BN, and of a profiler, that no net needs.
IGNORED = ("num_batches_tracked", "total_ops", "total_params")
Tensors = Mapping[str, np.ndarray]
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
  bias: str = ""  # of a mean: the bias of the convolution before, which BN subtracts again

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
  notes: tuple[str, ...] = ()  # what was chosen or assumed
  fingerprint: str = ""  # of the data set that the normalization is computed from
  classes: tuple[str, ...] | None = None  # their names, which only files exported here have

  def counts(self) -> str:
    """How many tensors were used and how many not, the first of them by name."""
    names = ", ".join(self.unused[:NAMED]) + (" ..." if len(self.unused) > NAMED else "")
    return f"{len(self.used)} tensors used, {len(self.unused)} unused{f' ({names})' * bool(names)}"


def natural(name: str) -> list[Any]:
  """A key to sort names by, in which 10 comes after 9."""
  return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def compare(tensors: Tensors, table: list[Entry]) -> Report:
  """Which tensors a net uses, which not, and which it lacks."""
  named = [(name, entry) for entry in table for name in (entry.theirs, entry.bias)]
  unused = sorted(set(tensors) - {name for name, _ in named}, key=natural)
  return Report(
    [(name, entry.ours, entry.shape) for name, entry in named if name in tensors],
    [name for name in unused if not name.endswith(IGNORED)],
    [entry.theirs for entry in table if entry.theirs not in tensors],
  )


def misfit(tensors: Tensors, table: list[Entry], own: Callable[[str], Any]) -> str | None:
  """What is wrong with the first tensor, in the net's order, that is missing or does not fit; else
  with the first that the net does not use though `own` says that it is the net's by its name.
  """
  _, unused, missing, *_ = compare(tensors, table)
  for entry in table:
    if entry.theirs in missing:
      more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
      rest = f"; missing: {', '.join(missing[:NAMED])}{more}" if len(missing) > 1 else ""
      return f"{entry.theirs} is missing, of shape {entry.their_shape}{rest}"
    for name in (entry.theirs, entry.bias):
      if name in tensors and (shape := tensors[name].shape) != entry.their_shape:
        return f"{name} has the shape {shape}, where the net has {entry.their_shape}"
  for name in filter(own, unused):
    return f"{name} of shape {tensors[name].shape} is no part of the net"
  return None


def to_ours(tensors: Tensors, table: list[Entry]) -> dict[str, Any]:
  """`{"params": ..., "batch_stats": ...}` of float32 arrays, units stacked as the nets have them.

  Raises:
    UserError: a tensor, of which the name and shape do fit, holds no weights.
  """
  stacks: dict[tuple[str, ...], list[np.ndarray]] = {}
  for entry in table:
    stacks.setdefault((entry.tree, *entry.path), []).append(_ours(tensors, entry))
  from flax import traverse_util  # with JAX

  return traverse_util.unflatten_dict(
    {path: np.stack(values) if "rest" in path else values[0] for path, values in stacks.items()}
  )


def _ours(tensors: Tensors, entry: Entry) -> np.ndarray:
  value = _values(entry.theirs, tensors)
  if entry.bias in tensors:
    value = value - _values(entry.bias, tensors)
  value = value.transpose(OURS[value.ndim])
  value = value if entry.writes is None else value[..., entry.writes]
  value = value if entry.reads is None else value[..., entry.reads, :]
  return np.ascontiguousarray(value)


def _values(name: str, tensors: Tensors) -> np.ndarray:
  tensor = tensors[name]
  if tensor.dtype.kind in "iubc":
    raise UserError(f"{name} is of type {tensor.dtype}; weights are floating-point numbers")
  value = tensor.astype(np.float32)
  if not np.isfinite(value).all():
    raise UserError(f"{name} holds values that are not finite")
  return value


def to_theirs(variables: Mapping[str, Any], table: list[Entry]) -> dict[str, np.ndarray]:
  """The inverse of `to_ours`."""
  from flax import traverse_util  # with JAX

  leaves, tensors = traverse_util.flatten_dict(variables), {}
  for entry in table:
    leaf = leaves[entry.tree, *entry.path]
    value = np.asarray(leaf[entry.unit - 1] if "rest" in entry.path else leaf)
    if entry.writes is not None:
      value = value[..., np.argsort(entry.writes)]
    if entry.reads is not None:
      value = value[..., np.argsort(entry.reads), :]
    tensors[entry.theirs] = np.ascontiguousarray(value.transpose(THEIRS[value.ndim]))
  return tensors
