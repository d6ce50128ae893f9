"""What the devices hold of a data set: a whole split, or the examples of one step."""

from typing import Any, NamedTuple

import jax
from flax import struct


class Normalization(NamedTuple):
  """Of images scaled to [0, 1]: `(image - mean) * scale`, [H, W, C] and [1], or both [C]."""

  mean: jax.Array
  scale: jax.Array


class Examples(struct.PyTreeNode):
  """A whole split: images uint8 [N, H, W, C], and their targets, an array or a dict of such."""

  images: jax.Array
  targets: Any
  normalization: Normalization

  def take(self, chosen: jax.Array, valid: jax.Array | None = None) -> "Batch":
    """The examples `chosen`, int32 [B]; `valid` tells which of them count."""
    targets = jax.tree.map(lambda array: array[chosen], self.targets)
    return Batch(self.images[chosen], targets, self.normalization, valid)


class Batch(struct.PyTreeNode):
  """The examples of one step, or of one turn of an evaluation.

  Attributes:
    images: uint8 [B, H, W, C]; as a task augments or normalizes them, of the run's type.
    targets: an array [B, ...], or a dict of such.
    normalization: of the images.
    valid: bool [B], False for what only fills up the last batch of an evaluation; None: all are.
  """

  images: jax.Array
  targets: Any
  normalization: Normalization
  valid: jax.Array | None = None


take: Any = jax.jit(Examples.take)  # for callers outside of a step
