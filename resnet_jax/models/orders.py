"""The order of the layers in F and f: the rows of set 2 ([I] 4), and the layers that they name.

A row and its layers may be one's own. A layer is a function of what it stands in (a unit, the stem
or the net's end, each with `config` and `train`), of its input, and of the name for its parameters:

    @resnet_jax.norm("GN", groups=8)
    def group_norm(unit, x, name):
      return nn.GroupNorm(unit.config.GN.groups, name=name)(x)

    @resnet_jax.layer("LReLU", slope=0.1)
    def leaky_relu(unit, x, name):
      return nn.leaky_relu(x, unit.config.LReLU.slope)

    resnet_jax.after_add("leaky")("conv [GN LReLU conv] GN | LReLU")

Then config.model.after_add="leaky" has them in the whole net: the stem's convolution is followed by
what stands between the convolutions of F, and a projection by the norm of the row.
"""

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn

from resnet_jax import errors
from resnet_jax.errors import UserError
from resnet_jax.models.layers import BatchNorm, Deferred, Map, written
from resnet_jax.registry import Registry

# A row is the order of F, then f after the bar. The bracket stands once for every convolution
# after the first: basic units have one such, bottlenecks two, one-layer units none.
AFTER_ADD = Registry("after_add", "model.after_add")


def _named(after_add: str) -> set[str]:
  """The layers that a row names."""
  return set(re.findall(r"\w+", AFTER_ADD.get(after_add, "")))


# What a row may name. Norms are told apart as a projection needs one.
NORMS = Registry("norm", "model.after_add", within=_named)
LAYERS = Registry("layer", "model.after_add", within=_named)
after_add, norm, layer = AFTER_ADD, NORMS, LAYERS  # as decorators

after_add("original")("conv [BN ReLU conv] BN | ReLU")
after_add("bn_after_add")("conv [BN ReLU conv] | BN ReLU")
after_add("relu_before_add")("conv [BN ReLU conv] BN ReLU |")
after_add("relu_only_preact")("ReLU conv [BN ReLU conv] BN |")
after_add("full_preact")("BN ReLU conv [BN ReLU conv] |")

ROW = re.compile(r"([^][|]*)\bconv \[([^][|]*)\bconv\]([^][|]*)\|([^][|]*)")


@norm("BN")
def batch_norm(unit: Any, x: Map, name: str) -> Map:
  """Batch normalization as `config.model.norm` says."""
  return BatchNorm(**unit.config.norm, use_running_average=not unit.train, name=name)(x)


@layer("ReLU")
def relu(_: Any, x: Map, name: str) -> Map:
  """max(x, 0)."""
  if isinstance(x, Deferred) and x.affine:
    return x.replace(relu=True)
  return nn.relu(written(x))


class Layer(NamedTuple):
  """A layer of a row: `Layer("BN", 2)` is the second BN of its unit."""

  kind: str
  number: int

  def __call__(self, unit: Any, x: Map, prefix: str = "") -> Map:
    """Applies it outside of F and f, where the first of a kind needs no number."""
    number = self.number if self.number > 1 else ""
    return self.apply(unit, x, f"{prefix}{self.kind.lower()}{number}")

  def apply(self, unit: Any, x: Map, name: str) -> Map:
    """Applies it, with parameters of that name. A layer of one's own takes and makes arrays."""
    layer = function(self.kind)
    return layer(unit, x if layer in (batch_norm, relu) else written(x), name)


class Order(NamedTuple):
  """The layers of a unit in their order."""

  before: tuple[Layer, ...]  # of F, before its first convolution
  residual: tuple[Layer, ...]  # the rest of F; a convolution is Layer("conv", number)
  after: tuple[Layer, ...]  # f
  between: tuple[Layer, ...]  # of F, between two convolutions

  @property
  def is_preactivation(self) -> bool:
    """Whether units begin with an activation ([I] 4.1)."""
    return bool(self.before)

  @property
  def norm(self) -> Layer | None:
    """The first normalization."""
    layers = (*self.before, *self.residual, *self.after)
    return next((layer for layer in layers if layer.kind in NORMS), None)


class Place(NamedTuple):
  """What a layer stands in where that is no module of its own."""

  config: Any
  train: bool


def order(config: Any, convolutions: int = 1) -> Order:
  """The layers of a unit of so many convolutions.

  With full_preact and 2 of them, BN1 ReLU1 stand before, conv1 BN2 ReLU2 conv2 are the rest of F,
  and f is empty.
  """
  return _parse(AFTER_ADD[config.after_add], convolutions)


def check(after_add: str) -> None:
  """Raises a UserError for a row that is none, or that names a layer which is not registered."""
  layers = _parse(AFTER_ADD[after_add], 2)
  for kind, _ in (*layers.before, *layers.residual, *layers.after):
    if kind != "conv" and kind not in NORMS and kind not in LAYERS:
      raise errors.unknown(f"a layer of after_add {after_add!r}", kind, [*NORMS, *LAYERS])


@functools.cache
def _parse(row: str, convolutions: int) -> Order:
  """See `order`.

  Raises:
    UserError: the row is none.
  """
  parts = ROW.fullmatch(row) if isinstance(row, str) else None
  if parts is None or "conv" in " ".join(parts.groups()).split():
    raise UserError(
      f"{row!r} is no order of F and f; it must read like {AFTER_ADD['original']!r}: F, in "
      "brackets what stands for every convolution after the first, and f after the bar"
    )
  before, between, end, after = (part.split() for part in parts.groups())
  count: dict[str, itertools.count[int]] = {}

  def numbered(kinds: list[str]) -> tuple[Layer, ...]:
    return tuple(Layer(kind, next(count.setdefault(kind, itertools.count(1)))) for kind in kinds)

  residual = ["conv", *[*between, "conv"] * (convolutions - 1), *end]
  layers = numbered(before), numbered(residual), numbered(after)
  count.clear()
  return Order(*layers, numbered(between))


def function(kind: str) -> Callable[[Any, Any, str], Map]:
  """What was registered as the norm or layer of that name."""
  found: Callable[[Any, Any, str], Map] = (NORMS if kind in NORMS else LAYERS)[kind]
  return found
