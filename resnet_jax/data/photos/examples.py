"""What a worker does with one batch: reads, decodes and crops its photographs."""

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from resnet_jax.data.photos import crops, decode
from resnet_jax.data.photos.sources import Source
from resnet_jax.data.photos.unreadable import Unreadable
from resnet_jax.data.targets import LABELS, OnHost, as_arrays
from resnet_jax.errors import UserError

MOST_UNREADABLE = 100  # in a row; then the disk is at fault, not the photographs

Arrays = dict[str, np.ndarray]
Transform = Callable[[bytes], Arrays]


@dataclasses.dataclass(frozen=True)
class Training:
  """Random crops of examples; the randomness of each depends on the seed and its position alone."""

  source: Source
  image_size: int
  crop: str
  seed: int
  targets: OnHost = LABELS

  def __call__(self, request: tuple[int, Sequence[int]]) -> Arrays:
    """The examples of `request`: the position of the first in the line of epochs, and which.

    Returns:
      image uint8 [B, S, S, 3], the targets (see `data.targets.as_arrays`), and unreadable int32
      [B]: the example that could not be read and that the next one replaces, else -1.

    Raises:
      UserError: `MOST_UNREADABLE` in a row could not be read.
    """
    position, examples = request
    size = self.image_size
    images = np.empty((len(examples), size, size, 3), np.uint8)
    targets: list[Any] = [None] * len(examples)
    unreadable = np.full(len(examples), -1, np.int32)
    for i, example in enumerate(examples):
      images[i], targets[i], unreadable[i] = self._readable(example, position + i)
    return {"image": images, **as_arrays(self.targets.collate(targets)), "unreadable": unreadable}

  def held(self, request: tuple[int, Sequence[int]]) -> str:
    """The names of a request's examples."""
    return ", ".join(map(self.source.name, request[1]))

  def _example(self, example: int, position: int) -> tuple[np.ndarray, Any]:
    data, target = self.source[example]
    if isinstance(target, int) and target < 0:  # TFDS's for none: it would train the last class
      raise Unreadable(f"it has no class (its label is {target})")
    height, width = decode.size(data)
    rng = np.random.default_rng((self.seed, position))
    box = crops.draw(self.crop, height, width, self.image_size, rng)
    cropped = decode.crop(data, box, self.image_size)
    return cropped, self.targets.crop(target, box, self.image_size)

  def _readable(self, example: int, position: int) -> tuple[np.ndarray, Any, int]:
    """Image and target of the first example from this one on that can be read; then -1, or which
    it replaces.
    """
    why = ""
    for step in range(MOST_UNREADABLE):
      try:
        image, target = self._example((example + step) % len(self.source), position)
        return image, target, example if step else -1
      except Unreadable as error:
        why = str(error)
    raise UserError(
      f"{MOST_UNREADABLE} examples in a row cannot be read, beginning with "
      f"{self.source.name(example)}; the last: {why}"
    )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Examples as `transform` makes arrays of them; zeros in place of what cannot be read."""

  source: Source
  transform: Transform

  def __call__(self, examples: Sequence[int]) -> Arrays:
    """The given examples.

    Returns:
      The transform's arrays, each [B, ...]; label int32 [B], -1 where it is not known; index
      int32 [B], which examples they are; unreadable int32 [B], the same where they could not be
      read, else -1.
    """
    rows = []
    index = np.array(examples, np.int32)
    labels, unreadable = np.full_like(index, -1), np.full_like(index, -1)
    for i, example in enumerate(examples):
      try:
        data, labels[i] = self.source[example]
        rows.append(self.transform(data))
      except Unreadable as error:
        unreadable[i] = example
        labels[i] = max(labels[i], error.label)  # whichever knows it
        rows.append(self._zeros)
    some = rows or [self._zeros]  # for the shapes, where no example is asked for
    arrays = {key: np.stack([row[key] for row in some])[: len(rows)] for key in some[0]}
    return arrays | {"label": labels, "index": index, "unreadable": unreadable}

  def held(self, examples: Sequence[int]) -> str:
    """The names of a request's examples."""
    return ", ".join(map(self.source.name, examples))

  @functools.cached_property
  def _zeros(self) -> Arrays:
    """In the shapes that the transform gives a photograph."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return {key: np.zeros_like(value) for key, value in self.transform(file.getvalue()).items()}
