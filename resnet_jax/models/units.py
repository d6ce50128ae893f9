"""The residual unit, f(h(x) + F(x)), and the tables that name its parts ([I] 1)."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from resnet_jax.models.layers import BatchNorm, Conv
from resnet_jax.models.shortcuts import SHORTCUTS, refuse_taken, subsample_and_pad

# Set 2 ([I] 4): the order of F, then f after the bar. The bracket stands once for every
# convolution after the first: basic units have one such, bottlenecks two, one-layer units none.
AFTER_ADD = {
  "original": "conv [BN ReLU conv] BN | ReLU",
  "bn_after_add": "conv [BN ReLU conv] | BN ReLU",
  "relu_before_add": "conv [BN ReLU conv] BN ReLU |",
  "relu_only_preact": "ReLU conv [BN ReLU conv] BN |",
  "full_preact": "BN ReLU conv [BN ReLU conv] |",
}

# The convolutions of F as (kernel, channels), for a stage of the given width.
UNITS: dict[str, Callable[[int], list[tuple[int, int]]]] = {}


def unit(name: str):
  """Registers a unit under `name`, for `config.model.unit`; see `basic` for what to decorate."""

  def register(convolutions):
    refuse_taken("unit", name, UNITS, convolutions)
    UNITS[name] = convolutions
    return convolutions

  return register


@unit("basic")
def basic(width):
  """Two 3x3 convolutions ([R] 3.3)."""
  return [(3, width), (3, width)]


@unit("bottleneck")
def bottleneck(width):
  """1x1 reduces, 3x3, 1x1 restores four times the width ([R] 4.1)."""
  return [(1, width), (3, width), (1, 4 * width)]


@unit("single")
def single(width):
  """One 3x3 convolution ([I] 4, the one-layer units of ResNet-110)."""
  return [(3, width)]


def order(after_add: str, convolutions: int) -> tuple[list[str], list[str], list[str]]:
  """The layers of a unit, numbered: before the first convolution, the rest of F, and f.

  `order("full_preact", 2)` is `["BN1", "ReLU"], ["conv1", "BN2", "ReLU", "conv2"], []`. A unit
  with layers before its first convolution is a pre-activation unit ([I] 4.1).
  """
  text = re.sub(r"\[(.*)\]", r"\1 " * (convolutions - 1), AFTER_ADD[after_add])
  count = {"conv": itertools.count(1), "BN": itertools.count(1)}
  residual, after = (
    [f"{name}{next(count[name])}" if name in count else name for name in part.split()]
    for part in text.split("|")
  )
  first = residual.index("conv1")
  return residual[:first], residual[first:], after


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
  """

  config: Any
  width: int
  strides: int = 1
  activation: str = "own"
  train: bool = False

  @nn.compact
  def __call__(self, x, number=0, key=None):
    """`number`: the unit's, from 0, in the network; `key`: this step's random key, or None."""
    first, rest, f = order(self.config.after_add, len(self.convolutions))
    if self.activation == "shared":
      x = self.layers(first, x)
    activated = self.layers(first, x) if self.activation == "own" else x
    # A key of the unit's number is the same whether the units are scanned or not.
    key = None if key is None else jax.random.fold_in(key, number)
    h, weight = SHORTCUTS[self.config.shortcut](self, x, key)
    return self.layers(f, h + weight * self.layers(rest, activated))

  @property
  def convolutions(self) -> list[tuple[int, int]]:
    """F's convolutions as (kernel, channels)."""
    return UNITS[self.config.unit](self.width)

  @property
  def features(self) -> int:
    """The channels of the unit's output."""
    return self.convolutions[-1][1]

  def layers(self, names: list[str], x):
    """Applies the layers named: conv1, BN1, ReLU ..."""
    for name in names:
      if name == "ReLU":
        x = nn.relu(x)
      elif name.startswith("BN"):
        x = self.bn(x, name.lower())
      else:
        x = self.conv(x, int(name.removeprefix("conv")) - 1)
    return x

  def conv(self, x, index: int):
    """F's convolution of that index, from 0; one of them carries the unit's stride."""
    kernels = [kernel for kernel, _ in self.convolutions]
    strided = kernels.index(3) if self.config.stride_on == "3x3" and 3 in kernels else 0
    kernel, channels = self.convolutions[index]
    strides = self.strides if index == strided else 1
    return Conv(channels, kernel, strides, self.config, name=f"conv{index + 1}")(x)

  def bn(self, x, name: str):
    """A batch normalization of that name."""
    return BatchNorm(**self.config.norm, use_running_average=not self.train, name=name)(x)

  def project(self, x, everywhere: bool = False):
    """The input in the shape of F(x): projection A, B or C ([R] 3.3, 4.1).

    BN follows the 1x1 convolution in the original units, none in the pre-activation ones.
    """
    same_shape = self.strides == 1 and x.shape[-1] == self.features
    if not everywhere and self.config.projection != "C":
      if same_shape:
        return x
      if self.config.projection == "A":
        return subsample_and_pad(x, self.features, self.strides)
    x = Conv(self.features, 1, self.strides, self.config, name="projection")(x)
    return x if is_preactivation(self.config) else self.bn(x, "projection_bn")

  def gate(self, x):
    """g(x) = sigmoid(W_g x + b_g), as many outputs as F has ([I] 3.1)."""
    bias = self.config.gate_bias
    return nn.sigmoid(Conv(self.features, 1, self.strides, self.config, "gate", bias)(x))


def is_preactivation(config) -> bool:
  """Whether units begin with an activation: relu_only_preact and full_preact ([I] 4.1)."""
  return bool(order(config.after_add, 1)[0])
