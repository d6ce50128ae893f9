"""What a network ends with: a head makes its outputs of the maps of the backbone's parts.

A task may bring a head of its own, whose parameters stand under its own name:

    class Segmenter(nn.Module):
      classes: int

      @nn.compact
      def __call__(self, maps, train):
        return nn.Conv(self.classes, (1, 1))(maps["stage4"].array)

    models.build(config.model, head=Segmenter(21, name="segmenter"))
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
from flax import linen as nn
from flax import struct

from resnet_jax.models.initializers import classifier_bias, classifier_kernel
from resnet_jax.models.layers import master_dtype


class Map(struct.PyTreeNode):
  """What a part of the backbone makes of images: [N, H / stride, W / stride, C]."""

  array: jax.Array
  stride: int = struct.field(pytree_node=False)  # pixels of the image from one position to the next


class Network(nn.Module):
  """Images [N, H, W, C], normalized -> what the head makes of the maps, such as logits.

  Attributes:
    config: `config.model`, frozen.
    head: called as `head(maps, train)` with what `maps` gives; None: the maps themselves.
    frozen: parts (stem, stage1 ...) that are used as they are while the others train: with their
      running statistics, and without a gradient.
  """

  config: Any
  head: Callable[[dict[str, Map], bool], Any] | None = None
  frozen: tuple[str, ...] = ()
  preserve_adopted_names: ClassVar[bool] = True  # a head keeps its own name

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> Any:
    maps = self.maps(x, train)
    return maps if self.head is None else self.head(maps, train)

  def maps(self, x: jax.Array, train: bool) -> dict[str, Map]:
    """The output of every part, by its name."""
    raise NotImplementedError

  @property
  def classes(self) -> int:
    """How many classes the head tells apart, if it does that."""
    found: int = getattr(self.head, "classes", 0)
    return found


class Classifier(nn.Module):
  """The mean over the positions of the last map -> logits [N, classes], float32 or float64.

  Attributes:
    classes: how many it tells apart; 0 for weights that came without a classifier.
    initializer: as `config.model.init`.
  """

  classes: int
  initializer: str

  @nn.compact
  def __call__(self, maps: Mapping[str, Map], train: bool = False) -> jax.Array:
    """`maps`: by the names of the parts, as `Network.maps` gives them."""
    x = maps[last(maps)].array
    dtype = master_dtype(x.dtype)
    x = x.astype(dtype).mean((1, 2))
    for_no_class = nn.initializers.zeros  # which have no scale
    kernel_init = classifier_kernel(self.initializer) if self.classes else for_no_class
    bias_init = classifier_bias(self.initializer, x.shape[-1])
    kernel = self.param("kernel", kernel_init, (x.shape[-1], self.classes), dtype)
    bias = self.param("bias", bias_init, (self.classes,), dtype)
    return x @ kernel + bias.reshape(1, -1)


def last(maps: Mapping[str, Map]) -> str:
  """The name of the last stage."""
  return max(name for name in maps if name.startswith("stage"))
