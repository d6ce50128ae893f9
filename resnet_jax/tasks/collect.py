"""How an evaluation adds up what its batches give, each example once, over all processes."""

from typing import Any, Protocol

import numpy as np

from resnet_jax.distributed import processes
from resnet_jax.errors import UserError


class Collector(Protocol):
  """Takes the entries of batches on the host, and gathers those of all processes."""

  def add(self, entries: dict[str, np.ndarray], numbers: np.ndarray, targets: Any) -> None:
    """Adds a batch.

    Args:
      entries: of the batch, on the host.
      numbers: int [n], which examples its first rows are; what follows them is padding.
      targets: of those examples, [n, ...].
    """

  def gather(self) -> dict[str, np.ndarray]:
    """The entries of the whole split, of all processes; called by all of them."""


class PerExample:
  """Keeps what each example came to, [N, ...]; NaN or -1 for one that could not be read."""

  def __init__(self, examples: int):
    self._examples = examples
    self._seen = np.zeros(examples, bool)
    self._rows: dict[str, np.ndarray] = {}

  def add(self, entries: dict[str, np.ndarray], numbers: np.ndarray, targets: Any) -> None:
    """See `Collector`.

    Raises:
      UserError: an example came before, as another view of it or from another network.
    """
    if self._seen[numbers].any():
      raise UserError(
        "this task averages nothing over views or networks; test one run, with --test=single"
      )
    self._seen[numbers] = True
    for name, values in entries.items():
      if name not in self._rows:
        kind = values.dtype if np.issubdtype(values.dtype, np.inexact) else np.int64
        missing = np.nan if np.issubdtype(kind, np.inexact) else -1
        self._rows[name] = np.full((self._examples, *values.shape[1:]), missing, kind)
      self._rows[name][numbers] = values[: len(numbers)]

  def gather(self) -> dict[str, np.ndarray]:
    """See `Collector`."""
    process = processes.gather(self._seen).argmax(0)  # that has seen the example
    place = process, np.arange(self._examples)
    return {name: processes.gather(values)[place] for name, values in self._rows.items()}


class Summed:
  """Adds up what each batch comes to as a whole, such as a confusion matrix."""

  def __init__(self) -> None:
    self._sums: dict[str, np.ndarray] = {}

  def add(self, entries: dict[str, np.ndarray], numbers: np.ndarray, targets: Any) -> None:
    """See `Collector`; the task itself leaves out the rows that `batch.valid` excludes."""
    for name, values in entries.items():
      self._sums[name] = self._sums[name] + values if name in self._sums else values

  def gather(self) -> dict[str, np.ndarray]:
    """See `Collector`."""
    return {name: processes.gather(values).sum(0) for name, values in self._sums.items()}
