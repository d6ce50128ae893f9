"""Residual and plain nets of any depth: stem, stages of units, classifier ([R] 3.3, 4.2; [I] 3)."""

import bisect
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.errors import UserError
from resnet_jax.models.initializers import classifier_bias, classifier_kernel
from resnet_jax.models.layers import KEPT, BatchNorm, Conv, master_dtype
from resnet_jax.models.units import UNITS, ResidualUnit, is_preactivation, order

# The widths of the stages: the map is halved and the filters doubled from one to the next.
WIDTHS = {"cifar": (16, 32, 64), "imagenet": (64, 128, 256, 512)}
IMAGENET_STAGES = {
  "basic": {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)},
  "bottleneck": {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)},
}
# The 3x3/2 pool of an even map needs one more row and column: Torch puts one on each side, and
# the last windows never reach the second; Caffe puts one at the end, which shifts all windows.
POOL_PADDING = {"both": (1, 1), "end": (0, 1)}
# What the backward pass computes again in each unit instead of keeping it.
REMAT = {
  "none": None,  # nothing
  "norm": jax.checkpoint_policies.save_only_these_names(KEPT),  # BN's affine map, ReLU, sums
  "unit": jax.checkpoint_policies.nothing_saveable,  # all but the unit's input
}


def units_per_stage(config) -> tuple[int, ...]:
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
    raise UserError(
      f"model.depth={config.depth} does not fit {config.unit} units, whose depths are "
      f"{a_stage}n+2; the nearest: {' and '.join(map(str, near))}"
    )
  nets = IMAGENET_STAGES.get(config.unit, {})
  if config.depth in nets:
    return nets[config.depth]
  if not nets:
    raise UserError(f"model.unit={config.unit!r} has no imagenet nets; basic and bottleneck have")
  depths = sorted(nets)
  at = bisect.bisect(depths, config.depth)
  near = depths[max(at - 1, 0) : at + 1]
  raise UserError(
    f"model.depth={config.depth} is no imagenet net of {config.unit} units; the nearest: "
    f"{' and '.join(map(str, near))}"
  )


class ResNet(nn.Module):
  """Images [N, H, W, C], normalized -> logits [N, classes], float32 or float64.

  Attributes:
    config: `config.model`, frozen.
    classes: how many the classifier tells apart; 0 for weights that came without one.
    frozen: parts (stem, stage1 ...) that are used as they are while the others train: with their
      running statistics, and without a gradient.
  """

  config: Any
  classes: int
  frozen: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, x, train: bool = False):
    config = self.config
    key = self.make_rng("dropout") if train and self.has_rng("dropout") else None
    trains = lambda name: train and name not in self.frozen
    x = Stem(config, trains("stem"), name="stem")(x.astype(config.dtype))
    number = 0
    for index, units in enumerate(units_per_stage(config)):
      width, name = WIDTHS[config.family][index], f"stage{index + 1}"
      x = Stage(config, width, units, index, trains(name), name=name)(x, number, key)
      number += units
    if is_preactivation(config):
      # After the last addition comes the activation that the next unit would begin with.
      if "BN1" in order(config.after_add, 1)[0]:
        x = BatchNorm(**config.norm, use_running_average=not train, name="last_bn")(x)
      x = nn.relu(x)
    dtype = master_dtype(x.dtype)
    x = x.astype(dtype).mean((1, 2))
    of_a_backbone = nn.initializers.zeros  # for no class, which has no scale
    return nn.Dense(
      self.classes,
      kernel_init=classifier_kernel(config.init) if self.classes else of_a_backbone,
      bias_init=classifier_bias(config.init, x.shape[-1]),
      dtype=dtype,
      param_dtype=dtype,
      name="classifier",
    )(x)


class Stem(nn.Module):
  """The first convolution with its BN and ReLU; for ImageNet 7x7/2, then a 3x3/2 max pool.

  In pre-activation nets its BN and ReLU are the first unit's ([I] appendix).
  """

  config: Any
  train: bool

  @nn.compact
  def __call__(self, x):
    config = self.config
    cifar = config.family == "cifar"
    kernel, strides = (3, 1) if cifar else (7, 2)
    x = Conv(WIDTHS[config.family][0], kernel, strides, config, name="conv")(x)
    x = BatchNorm(**config.norm, use_running_average=not self.train, name="bn")(x)
    x = nn.relu(x)
    return x if cifar else nn.max_pool(x, (3, 3), (2, 2), [POOL_PADDING[config.pool_padding]] * 2)


class Stage(nn.Module):
  """A first unit, which may change the shape, and a scan over the rest, which are alike.

  The parameters of the rest are stacked on a leading axis, so that compiling takes as long for
  three units as for three hundred.
  """

  config: Any
  width: int
  units: int
  index: int
  train: bool

  @nn.compact
  def __call__(self, x, number: int, key):
    # The later stages begin with a change of shape; before the first one the stem has activated.
    strides, activation = (2, "shared") if self.index else (1, "none")
    first = self.unit(False)(self.config, self.width, strides, activation, self.train, name="first")
    x = first(x, number, key)
    if self.units == 1:
      return x
    rest = nn.scan(
      lambda unit, x, number, key: (unit(x, number, key), None),
      variable_axes={"params": 0, "batch_stats": 0},
      split_rngs={"params": True},
      in_axes=(0, nn.broadcast),
      length=self.units - 1,
      unroll=self.config.unroll,
    )
    in_a_loop = self.config.unroll < self.units - 1
    unit = self.unit(in_a_loop)(self.config, self.width, train=self.train, name="rest")
    x, _ = rest(unit, x, number + 1 + jnp.arange(self.units - 1), key)
    return x

  def unit(self, in_a_loop: bool) -> Any:
    """The unit, rematerialized as `config.remat` says; in a loop XLA cannot undo that anyway."""
    policy = REMAT[self.config.remat]
    if policy is None or not self.train:
      return ResidualUnit
    return nn.remat(ResidualUnit, prevent_cse=not in_a_loop, policy=policy)


# What does not combine, and why.
REFUSED: list[tuple[dict[str, tuple[str, ...]], str]] = [
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
]


def refuse(config) -> None:
  """Raises a UserError for a `config.model` in which two settings contradict each other."""
  for pattern, why in REFUSED:
    if all(config[key] in values for key, values in pattern.items()):
      names = ", ".join(f"model.{key}={config[key]}" for key in pattern)
      raise UserError(f"{names} make no sense together: {why}")
