"""Residual and plain nets of any depth: stem, stages of units, head ([R] 3.3, 4.2; [I] 3)."""

import bisect
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import DenyList

from resnet_jax.errors import UserError
from resnet_jax.models import layers
from resnet_jax.models.heads import Map, Network
from resnet_jax.models.layers import Conv, native_lanes, written
from resnet_jax.models.operation import KEPT
from resnet_jax.models.orders import Place, order
from resnet_jax.models.units import UNITS, ResidualUnit

# The widths of the stages: the map is halved and the filters doubled from one to the next.
WIDTHS = {"cifar": (16, 32, 64), "imagenet": (64, 128, 256, 512)}
STEM_STRIDE = {"cifar": 1, "imagenet": 4}
IMAGENET_STAGES = {
  "basic": {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)},
  "bottleneck": {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)},
}
# The 3x3/2 pool of an even map needs one more row and column: Torch puts one on each side, and
# the last windows never reach the second; Caffe puts one at the end, which shifts all windows.
POOL_PADDING = {"both": (1, 1), "end": (0, 1)}
SOWN = DenyList(("params", "batch_stats"))  # all other collections of variables
# What the backward pass computes again in each unit instead of keeping it.
REMAT = {
  "none": None,  # nothing
  "norm": jax.checkpoint_policies.save_only_these_names(KEPT),  # BN's affine map, ReLU, sums
  "unit": jax.checkpoint_policies.nothing_saveable,  # all but the unit's input
}


def units_per_stage(config: Any) -> tuple[int, ...]:
  """How many units each stage of `config.model` has.

  CIFAR nets have n units in each of three stages: 6n+2, 9n+2 and 3n+2 layers with basic,
  bottleneck and one-layer units; ImageNet nets are those of the papers' tables.

  Raises:
    UserError: there is no net of that depth; the nearest depths are named.
  """
  if config.family == "cifar":
    a_stage = 3 * len(UNITS[config.unit](16))
    n, rest = divmod(config.depth - 2, a_stage)
    if n >= 1 and not rest:
      return (n, n, n)
    near = [2 + a_stage * k for k in (n, n + 1) if k >= 1] or [2 + a_stage]
    why = f"does not fit {config.unit} units, whose depths are {a_stage}n+2"
  else:
    nets = IMAGENET_STAGES.get(config.unit, {})
    if config.depth in nets:
      return nets[config.depth]
    if not nets:
      raise UserError(f"model.unit={config.unit!r} has no imagenet nets; basic and bottleneck have")
    at = bisect.bisect([*nets], config.depth)
    near = [*nets][max(at - 1, 0) : at + 1]
    why = f"is no imagenet net of {config.unit} units"
  raise UserError(f"model.depth={config.depth} {why}; the nearest: {' and '.join(map(str, near))}")


class ResNet(Network):
  """A stem, stages of units, and the head: `config.model`."""

  def maps(self, x: jax.Array, train: bool) -> dict[str, Map]:
    """The output of every part: stem, stage1 ...

    In original nets each is what f makes of a sum. In pre-activation nets the sums h(x) + F(x)
    stand as they are, but the last one has passed the activation that a further unit would begin
    with (BN and ReLU in full_preact).
    """
    config, maps = self.config, {}
    key = self.make_rng("dropout") if train and self.has_rng("dropout") else None
    units = units_per_stage(config)

    def trains(name: str) -> bool:
      return train and name not in self.frozen

    y: layers.Map = Stem(config, trains("stem"), name="stem")(x.astype(config.dtype))
    stride, dilation = STEM_STRIDE[config.family], 1
    maps["stem"] = Map(written(y), stride)
    for index in range(len(units)):
      name, before, strides = f"stage{index + 1}", dilation, 2 if index else 1
      if stride * strides > config.output_stride:
        strides, dilation = 1, 2 * dilation
      stride *= strides
      y = Stage(config, units, index, strides, (before, dilation), trains(name), name=name)(y, key)
      maps[name] = Map(written(y), stride)
    for layer in order(config).before:
      y = layer(Place(config, train), y, "last_")
    maps[name] = Map(written(y), stride)
    return maps


class Stem(nn.Module):
  """The first convolution with its BN and ReLU; for ImageNet 7x7/2, then a 3x3/2 max pool.

  In pre-activation nets its BN and ReLU are the first unit's ([I] appendix).
  """

  config: Any
  train: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    config = self.config
    cifar = config.family == "cifar"
    kernel, strides = (3, 1) if cifar else (7, 2)
    y = Conv(WIDTHS[config.family][0], kernel, strides, config, name="conv", write=False)(x)
    for layer in order(config).between:
      y = layer(self, y)
    if cifar:
      return written(y)
    pooled: jax.Array = nn.max_pool(
      written(y), (3, 3), (2, 2), [POOL_PADDING[config.pool_padding]] * 2
    )
    return pooled


class Stage(nn.Module):
  """A first unit, which may change the shape, and a scan over the rest, which are alike.

  The parameters of the rest are stacked on a leading axis, so that compiling takes as long for
  three units as for three hundred. So is whatever else they keep: statistics, and what is sown.

  Attributes:
    config: `config.model`, frozen.
    units: how many each stage has.
    index: of this stage, from 0.
    strides: of the first unit.
    dilation: of the stage before and of this one: see `ResidualUnit`.
    train: as in `ResidualUnit`.
  """

  config: Any
  units: tuple[int, ...]
  index: int
  strides: int
  dilation: tuple[int, int]
  train: bool

  @nn.compact
  def __call__(self, x: layers.Map, key: jax.Array | None) -> layers.Map:
    units, number = self.units[self.index], sum(self.units[: self.index])
    # The later stages begin with a change of shape; before the first one the stem has activated.
    activation = "shared" if self.index else "none"
    first = self.unit("first", strides=self.strides, activation=activation, dilation=self.dilation)
    x = first(x, number, key)
    if units == 1:
      return x

    def step(unit: ResidualUnit, x: layers.Map, number: Any, key: Any) -> tuple[layers.Map, None]:
      return layers.like(x, unit(x, number, key)), None

    rest = nn.scan(
      step,
      variable_axes={"params": 0, "batch_stats": 0, SOWN: 0},
      split_rngs={"params": True},
      in_axes=(0, nn.broadcast),
      length=units - 1,
      unroll=self.config.unroll,
    )
    in_a_loop = self.config.unroll < units - 1
    unit = self.unit("rest", in_a_loop, dilation=(self.dilation[1],) * 2)
    out: layers.Map = rest(unit, x, number + 1 + jnp.arange(units - 1), key)[0]
    return out

  def unit(self, name: str, in_a_loop: bool = False, **attributes: Any) -> ResidualUnit:
    """A unit, rematerialized as `config.remat` says; in a loop XLA cannot undo that anyway."""
    kind, policy = ResidualUnit, REMAT[self.config.remat]
    if self.config.remat == "norm" and native_lanes(self.config):
      policy = None  # they keep nothing that BN and ReLU make
    if policy is not None and self.train:
      kind = nn.remat(ResidualUnit, prevent_cse=not in_a_loop, policy=policy)
    width, total = WIDTHS[self.config.family][self.index], sum(self.units)
    return kind(self.config, width, train=self.train, total=total, name=name, **attributes)


def by_unit(config: Any, tree: Any) -> list[Any]:
  """The units' shares of a tree whose stages hold `first` and the stacked `rest`, in their order.

  Args:
    config: `config.model`.
    tree: parameters, statistics, gradients, or what the units have sown (`intermediates`).
  """
  units = []
  for index, count in enumerate(units_per_stage(config)):
    stage = tree.get(f"stage{index + 1}", {})
    rest = stage.get("rest", {})
    units += [stage.get("first", {})]
    units += [jax.tree.map(lambda leaf, at=at: leaf[at], rest) for at in range(count - 1)]
  return units


# What does not combine, and why.
REFUSED: list[tuple[dict[str, tuple[Any, ...]], str]] = [
  (
    {"shortcut": ("none",), "after_add": ("bn_after_add", "relu_before_add")},
    "without a shortcut nothing is added, and this is the original order; take after_add=original",
  ),
  (
    {"shortcut": ("conv",), "projection": ("C",)},
    "conv is projection C already; leave projection at A or B",
  ),
  (
    {"shortcut": ("none",), "projection": ("C",)},
    "a plain net has no shortcut to project; leave projection at A or B",
  ),
  (
    {"family": ("cifar",), "pool_padding": ("end",)},
    "CIFAR nets have no pool; leave pool_padding at both",
  ),
  (
    {"family": ("cifar",), "output_stride": (8, 16)},
    "CIFAR nets end at a stride of 4; leave output_stride at 32",
  ),
]


def refuse(config: Any) -> None:
  """Raises a UserError for a `config.model` in which two settings contradict each other."""
  for pattern, why in REFUSED:
    if all(config[key] in values for key, values in pattern.items()):
      names = ", ".join(f"model.{key}={config[key]}" for key in pattern)
      raise UserError(f"{names} make no sense together: {why}")
