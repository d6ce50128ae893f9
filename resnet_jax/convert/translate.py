"""Between a tree of ours and tensors by another framework's names: one table, both ways."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.convert.files import Tensors
from resnet_jax.convert.layouts import FIELDS, OURS, THEIRS, Layout, modules, order
from resnet_jax.errors import UserError

IGNORED = ("num_batches_tracked",)  # counts of PyTorch's BN that no net needs


class Entry(NamedTuple):
  """One tensor there, and where it stands here."""

  theirs: str
  tree: str  # params, batch_stats
  path: tuple[str, ...]
  unit: int | None
  shape: tuple[int, ...]  # ours
  reads: np.ndarray | None  # where ours' input channels lie in theirs
  writes: np.ndarray | None

  @property
  def ours(self) -> str:
    """Its path, with the number of the unit, from 1."""
    unit = "" if self.unit is None else f"unit{self.unit + 1}/"
    return self.path[0] + "/" + unit + "/".join(self.path[1 if self.unit is None else 2 :])


class Report(NamedTuple):
  """What became of a file's tensors: (theirs, ours, shape of ours), and names."""

  used: list[tuple[str, str, tuple[int, ...]]]
  unused: list[str]
  missing: list[str]


def entries(layout: Layout, config, classes: int, padding: str) -> Iterator[Entry]:
  """The table of a net under a layout."""
  orders = order(config, padding)
  for module in modules(config, classes):
    for tree, ours, theirs in FIELDS[module.kind]:
      kernel = ours == "kernel"
      yield Entry(
        f"{layout.name(module)}.{theirs}",
        tree,
        (*module.path, ours),
        module.unit,
        module.shape if kernel else module.shape[-1:],
        orders.get(module.reads) if kernel else None,
        orders.get(module.writes),
      )


def to_ours(file: str, tensors: Tensors, table: list[Entry]) -> tuple[dict[str, Any], Report]:
  """`{"params": ..., "batch_stats": ...}` of float32 arrays, units stacked as the nets have them.

  Raises:
    UserError: a tensor is missing or has another shape; the first is named.
  """
  report = compare(tensors, table)
  if report.missing:
    raise UserError(f"{file} lacks {_some(report.missing)}" + _beside(report.unused))
  stacks: dict[tuple[str, tuple[str, ...]], list[np.ndarray]] = {}
  for entry in table:
    stacks.setdefault((entry.tree, entry.path), []).append(_ours(file, entry, tensors))
  variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
  for (tree, path), values in stacks.items():
    node = variables[tree]
    for part in path[:-1]:
      node = node.setdefault(part, {})
    node[path[-1]] = np.stack(values) if "rest" in path else values[0]
  return variables, report


def _ours(file: str, entry: Entry, tensors: Tensors) -> np.ndarray:
  tensor = tensors[entry.theirs]
  if tensor.ndim == len(entry.shape):
    value = tensor.transpose(OURS[tensor.ndim])
    if value.shape == entry.shape:
      value = value if entry.writes is None else value[..., entry.writes]
      value = value if entry.reads is None else value[..., entry.reads, :]
      return value.astype(np.float32)
  expected = tuple(entry.shape[axis] for axis in THEIRS[len(entry.shape)])
  raise UserError(
    f"{file}: {entry.theirs} has the shape {tensor.shape}, where this net has {expected} "
    f"({entry.ours})"
  )


def to_theirs(variables: dict[str, Any], table: list[Entry]) -> Tensors:
  """The inverse of `to_ours`."""
  tensors = {}
  for entry in table:
    value: Any = variables[entry.tree]
    for part in entry.path:
      value = value[part]
    value = np.asarray(value[entry.unit - 1] if entry.unit else value)
    if entry.writes is not None:
      value = value[..., np.argsort(entry.writes)]
    if entry.reads is not None:
      value = value[..., np.argsort(entry.reads), :]
    tensors[entry.theirs] = np.ascontiguousarray(value.transpose(THEIRS[value.ndim]))
  return tensors


def compare(tensors: Tensors, table: list[Entry]) -> Report:
  """Which tensors a net uses, which not, and which it lacks."""
  used = [(entry.theirs, entry.ours, entry.shape) for entry in table if entry.theirs in tensors]
  names = {entry.theirs for entry in table}
  unused = [name for name in tensors if name not in names and not name.endswith(IGNORED)]
  return Report(used, unused, [entry.theirs for entry in table if entry.theirs not in tensors])


def _some(names: list[str]) -> str:
  rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
  return f"{names[0]}{rest}"


def _beside(unused: list[str]) -> str:
  return f"; of no use are {_some(unused)}" if unused else ""
