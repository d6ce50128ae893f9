"""The words of a sweep file. It defines `get_sweep`, which returns a `Sweep`:

    from resnet_jax.sweep import Sweep, row

    def get_sweep(data="cifar10"):
      rows = [row("original"), row("1x1 conv", {"model.shortcut": "conv"})]
      return Sweep(f"configs/resnet.py:depth=110,{data}", rows, seeds=5)

Rows are plain lists: join them with `+`.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
  """A named change to the base config. The rows of a group are compared with its first."""

  name: str
  overrides: Mapping[str, Any]  # {"model.shortcut": "conv"}: the keys of the flags
  group: str = ""
  seeds: int | None = None  # None: the sweep's


@dataclasses.dataclass(frozen=True)
class Sweep:
  """Rows over a base config, as `--config` takes it; each is trained with seeds 0, 1, ..."""

  base: str
  rows: Sequence[Row]
  seeds: int = 5  # as the papers' medians


def row(name: str, overrides: Mapping[str, Any] | None = None) -> Row:
  """A row written by hand."""
  return Row(name, overrides or {})


def grid(values: Mapping[str, Sequence[Any]]) -> list[Row]:
  """A row for each combination of the values, the last key's varying fastest."""
  return _rows(values, itertools.product(*values.values()))


def zipped(values: Mapping[str, Sequence[Any]]) -> list[Row]:
  """A row for the first values of all keys, one for the second, and so on.

  Raises:
    ValueError: there are not as many of each.
  """
  return _rows(values, zip(*values.values(), strict=True))


def group(
  name: str, rows: Iterable[Row], overrides: Mapping[str, Any] | None = None, seeds=None
) -> list[Row]:
  """The rows as one comparison, with overrides and a number of seeds that they share."""
  shared = overrides or {}
  return [Row(row.name, {**shared, **row.overrides}, name, row.seeds or seeds) for row in rows]


def _rows(keys: Iterable[str], combinations: Iterable[Sequence[Any]]) -> list[Row]:
  """Rows called after their values, and the keys where there are several."""
  rows = []
  for chosen in combinations:
    overrides = dict(zip(keys, chosen, strict=True))
    names = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in overrides.items()]
    rows.append(Row(", ".join(names) if len(names) > 1 else str(*chosen), overrides))
  return rows
