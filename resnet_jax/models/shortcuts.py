"""h: the shortcut mappings of set 1 ([I] 3), and the projections where the shape changes.

A shortcut is a function of its unit, the unit's input and a random key (None where nothing is
random). It returns h(x) and the weight of F, and may create layers, which then belong to the unit:

    @resnet_jax.shortcut("damped", factor=0.5)
    def damped(unit, x, key):
      return unit.config.damped.factor * unit.project(x), 1.0

`unit.number` is the unit's, from 0, among the `unit.total` of the network.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from resnet_jax.models.operation import KEPT
from resnet_jax.registry import Registry

SHORTCUTS = Registry("shortcut", "model.shortcut")
shortcut = SHORTCUTS  # as a decorator
Shortcut = tuple[jax.Array | float, jax.Array | float]  # h(x) and the weight of F


@shortcut("identity")
def identity(unit: Any, x: jax.Array, _: Any) -> Shortcut:
  """h(x) = x ([I] 2)."""
  return unit.project(x), 1


@shortcut("scaling")
def scaling(unit: Any, x: jax.Array, _: Any) -> Shortcut:
  """h(x) = lambda x, with a factor on F as well ([I] 3.1, constant scaling)."""
  return unit.config.shortcut_scale * unit.project(x), unit.config.residual_scale


@shortcut("exclusive_gating")
def exclusive_gating(unit: Any, x: jax.Array, _: Any) -> Shortcut:
  """h(x) = (1 - g(x)) x, and g(x) on F ([I] 3.1)."""
  g = unit.gate(x)
  return (1 - g) * unit.project(x), g


@shortcut("shortcut_gating")
def shortcut_gating(unit: Any, x: jax.Array, _: Any) -> Shortcut:
  """h(x) = (1 - g(x)) x, and F as it is ([I] 3.1, shortcut-only gating)."""
  return (1 - unit.gate(x)) * unit.project(x), 1


@shortcut("conv")
def conv(unit: Any, x: jax.Array, _: Any) -> Shortcut:
  """h(x) = W x, a 1x1 convolution in every unit ([I] 3.1)."""
  return unit.project(x, everywhere=True), 1


@shortcut("dropout")
def dropout(unit: Any, x: jax.Array, key: jax.Array) -> Shortcut:
  """h(x) is zero with probability `dropout_rate`, else x ([I] 3.1).

  As the paper describes it: the mask is not rescaled in training, so that the shortcut is
  scaled by 1 - rate in expectation; in evaluation it is scaled by just that.
  """
  x, keep = unit.project(x), 1 - unit.config.dropout_rate
  if not unit.train:
    return keep * x, 1
  mask = checkpoint_name(jax.random.bernoulli(key, keep, x.shape), KEPT)
  return x * mask, 1


@shortcut("none")
def none(*_: Any) -> Shortcut:
  """h(x) = 0: a plain net."""
  return 0, 1


def subsample_and_pad(x: jax.Array, features: int, strides: int) -> jax.Array:
  """Projection A: every `strides`-th position of x, and zeros for the channels it lacks."""
  x = x[:, ::strides, ::strides]
  return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))
