"""The residual unit, f(h(x) + F(x)), and the tables that name its parts ([I] 1).

A part of one's own is a function that is registered under a name. What F consists of:

    @resnet_jax.unit("wide")
    def wide(width):
      return [(3, width), (1, 2 * width), (3, width)]

Whether F is computed at all, and how much it counts (stochastic depth):

    @resnet_jax.residual("stochastic", survival=0.5)
    def stochastic(unit, F, key):
      p = 1 - (unit.number + 1) / unit.total * (1 - unit.config.stochastic.survival)
      if not unit.train:
        return p * F()
      return unit.only_if(jax.random.bernoulli(key, p), F)

Inside a stage's loop `unit.number` is traced, so that what depends on it is decided by
`unit.only_if`, `jnp.where` and the like; `unit.total` is a number of Python's.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models import orders
from resnet_jax.models.layers import Conv, Deferred, Map, deferred, native_lanes, written
from resnet_jax.models.orders import Layer, order
from resnet_jax.models.shortcuts import SHORTCUTS, subsample_and_pad
from resnet_jax.registry import Registry

UNITS = Registry("unit", "model.unit")  # the convolutions of F, for a stage of the given width
RESIDUALS = Registry("residual", "model.residual")  # what is done with F
unit, residual = UNITS, RESIDUALS  # as decorators


@unit("basic")
def basic(width: int) -> list[tuple[int, int]]:
  """Two 3x3 convolutions ([R] 3.3), as (kernel, channels)."""
  return [(3, width), (3, width)]


@unit("bottleneck")
def bottleneck(width: int) -> list[tuple[int, int]]:
  """1x1 reduces, 3x3, 1x1 restores four times the width ([R] 4.1)."""
  return [(1, width), (3, width), (1, 4 * width)]


@unit("single")
def single(width: int) -> list[tuple[int, int]]:
  """One 3x3 convolution ([I] 4, the one-layer units of ResNet-110)."""
  return [(3, width)]


class Residual(NamedTuple):
  """F of a unit at its input, as a function: calling it computes F(x)."""

  unit: "ResidualUnit"
  layers: tuple[Layer, ...]
  x: Map

  def __call__(self, unit: "ResidualUnit | None" = None) -> jax.Array:
    """F(x); inside a lifted transform of Flax, `unit` is the one that the transform gives."""
    return written((self.unit if unit is None else unit).layers(self.layers, self.x))

  def plus(self, h: jax.Array) -> Map:
    """h + F(x)."""
    return self.unit.layers(self.layers, self.x, h)


@residual("always")
def always(unit: "ResidualUnit", F: Residual, key: jax.Array | None) -> jax.Array:
  """F(x)."""
  return F()


class ResidualUnit(nn.Module):
  """x [N, H, W, C] -> f(h(x) + F(x)), [N, H / strides, W / strides, channels of F's last layer].

  Attributes:
    config: `config.model`, frozen.
    width: of the stage; the channels of F's inner convolutions.
    strides: of the unit, 1 or 2.
    activation: of a pre-activation unit's first BN and ReLU. "own": on F's path alone; "shared":
      before the paths split, where the shape changes ([I], released code); "none": the stem has
      done it, in the first unit of the network ([I] appendix).
    train: batch statistics and dropout, or running averages and none.
    dilation: of the 3x3 convolutions up to the one that carries the unit's stride, and of those
      after it.
    total: the units of the network.
    number: of this unit, from 0; known while it is called.
  """

  config: Any
  width: int
  strides: int = 1
  activation: str = "own"
  train: bool = False
  dilation: tuple[int, int] = (1, 1)
  total: int = 1
  number: ClassVar[Any] = None

  @nn.compact
  def __call__(self, x: Map, number: Any = 0, key: jax.Array | None = None) -> Map:
    """`number`: the unit's, from 0, in the network; `key`: this step's random key, or None."""
    object.__setattr__(self, "number", number)  # Flax freezes modules; this one lives for the call
    # In `init` all of F is computed, whatever becomes of it, so that its parameters are made.
    take = "always" if self.is_initializing() else self.config.residual
    before, rest, after = order(self.config, len(self.convolutions))[:3]
    if self.activation == "shared":
      x = written(self.layers(before, x))
    first = before if self.activation == "own" else ()
    F, x = self.begin(first, rest, x, take)
    # A key of the unit's number is the same whether the units are scanned or not.
    key = None if key is None else jax.random.fold_in(key, number)
    h, weight = SHORTCUTS[self.config.shortcut](self, x, key)
    another = None if key is None or take == "always" else jax.random.fold_in(key, 1)
    y = self.layers(after, self.add(h, weight, F, take, another))
    if isinstance(y, Deferred) and y.affine is None:
      return Deferred(y.x, y.moments, attached=False)
    return written(y).astype(self.config.dtype)  # parts may compute in float32

  def add(self, h: Any, weight: Any, F: Residual, take: str, key: jax.Array | None) -> Map:
    """h(x) + weight F(x), of which `take` computes F; a method, so that studies can look in."""
    if take == "always" and isinstance(h, jax.Array) and isinstance(weight, int) and weight == 1:
      return F.plus(h)
    y: jax.Array = h + weight * RESIDUALS[take](self, F, key)
    return y

  def begin(
    self, first: tuple[Layer, ...], rest: tuple[Layer, ...], x: Map, take: str
  ) -> tuple[Residual, jax.Array]:
    """F, and x for h. F begins before h if it is always taken: the order that compilers have always
    seen. Its first convolution, if one of ours, hands on what it read.
    """
    if take != "always":
      return Residual(self, first + rest, written(x)), written(x)
    start = self.layers(first, deferred(x, self.config) if first else written(x))
    if not native_lanes(self.config):
      return Residual(self, rest, start), written(x)
    begun = self.layers(rest[:1], start)
    source = begun.source if isinstance(begun, Deferred) else None
    if source is None or (first and not isinstance(start, Deferred)):
      source = written(x)  # what was read is not x: a layer of one's own has made it of x
    return Residual(self, rest[1:], begun), source

  @property
  def convolutions(self) -> list[tuple[int, int]]:
    """F's convolutions as (kernel, channels)."""
    found: list[tuple[int, int]] = UNITS[self.config.unit](self.width)
    return found

  @property
  def features(self) -> int:
    """The channels of the unit's output."""
    return self.convolutions[-1][1]

  def layers(self, layers: tuple[Layer, ...], x: Map, add: jax.Array | None = None) -> Map:
    """Applies layers of F or f, whose parameters are named conv1, bn1 ...; then adds `add`."""
    for number, layer in enumerate(layers):
      if layer.kind == "conv":
        last = number == len(layers) - 1
        x = self.conv(x, layer.number - 1, add if last else None)
        add = None if last else add
      else:
        x = layer.apply(self, x, f"{layer.kind.lower()}{layer.number}")
    return x if add is None else add + written(x)

  def conv(self, x: Map, index: int, add: jax.Array | None = None) -> Map:
    """F's convolution of that index, from 0; one of them carries the unit's stride."""
    kernels = [kernel for kernel, _ in self.convolutions]
    strided = kernels.index(3) if self.config.stride_on == "3x3" and 3 in kernels else 0
    kernel, channels = self.convolutions[index]
    strides, dilation = self.strides if index == strided else 1, self.dilation[index > strided]
    name = f"conv{index + 1}"
    return Conv(channels, kernel, strides, self.config, dilation=dilation, name=name, write=False)(
      x, add
    )

  def bn(self, x: jax.Array, name: str) -> jax.Array:
    """A batch normalization of that name, for parts; names end in bn, or bn and a number."""
    return written(orders.batch_norm(self, x, name))

  def only_if(self, keep: jax.Array, F: Residual) -> jax.Array:
    """F(x) where `keep`, a bool []; else zeros, for which nothing of F is computed, and its BN
    keeps its statistics. Layers of F cannot sow then.
    """
    batch, rows, columns, _ = written(F.x).shape
    shape = batch, -(-rows // self.strides), -(-columns // self.strides), self.features
    dtype = self.config.dtype
    return nn.cond(
      keep, lambda unit: F(unit).astype(dtype), lambda _: jnp.zeros(shape, dtype), self
    )

  def project(self, x: jax.Array, everywhere: bool = False) -> jax.Array:
    """The input in the shape of F(x): projection A, B or C ([R] 3.3, 4.1).

    BN follows the 1x1 convolution in the original units, none in the pre-activation ones.
    """
    same_shape = self.strides == 1 and x.shape[-1] == self.features
    if not everywhere and self.config.projection != "C":
      if same_shape:
        return x
      if self.config.projection == "A":
        return subsample_and_pad(x, self.features, self.strides)
    y = Conv(self.features, 1, self.strides, self.config, name="projection", write=False)(x)
    row = order(self.config)
    if row.is_preactivation or row.norm is None:
      return written(y)
    return written(row.norm(self, y, "projection_"))

  def gate(self, x: jax.Array) -> jax.Array:
    """g(x) = sigmoid(W_g x + b_g), as many outputs as F has ([I] 3.1)."""
    bias = self.config.gate_bias
    return nn.sigmoid(
      written(Conv(self.features, 1, self.strides, self.config, bias, name="gate")(x))
    )
