"""What a network is to learn of photographs: cropped as they are, and put together into batches.

Worker processes do this on the host, so a class of one's own must pickle and must not need JAX.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from resnet_jax.data.dataset import Targets

TARGET = "target"  # begins the names of targets among a worker's arrays


class OnHost(Protocol):
  """How workers treat the targets of a task."""

  def crop(self, target: Any, box: tuple[int, int, int, int], size: int) -> Any:
    """The target of a photograph once the box (left, top, right, bottom), in its own pixels, has
    become an image of `size` x `size`.
    """

  def collate(self, targets: Sequence[Any]) -> Targets:
    """The targets of a batch as an array [B, ...], or a dict of such."""


class Labels:
  """Of classification: a label, whatever part of the photograph is seen."""

  def crop(self, target: int, box: tuple[int, int, int, int], size: int) -> int:
    """The label."""
    return target

  def collate(self, targets: Sequence[int]) -> np.ndarray:
    """int32 [B]."""
    return np.asarray(targets, np.int32)


LABELS = Labels()


def as_arrays(targets: Targets) -> dict[str, np.ndarray]:
  """Targets as arrays by name, as workers send them."""
  if isinstance(targets, dict):
    return {f"{TARGET}.{name}": array for name, array in targets.items()}
  return {TARGET: targets}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Targets:
  """The inverse of `as_arrays`, of arrays among which there are others."""
  if TARGET in arrays:
    return arrays[TARGET]
  begin = f"{TARGET}."
  return {k.removeprefix(begin): array for k, array in arrays.items() if k.startswith(begin)}
