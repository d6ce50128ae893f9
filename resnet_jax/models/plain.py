"""A plain net without normalization: 3x3 convolutions, one after the other ([M] 2.2, [T]).

Here initialization alone decides how large a signal and its gradient are after many layers. Every
layer keeps the size of the map and has as many outputs as inputs, except the first.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resnet_jax.models.heads import Map, Network
from resnet_jax.models.layers import Conv, master_dtype, written
from resnet_jax.models.resnet import SOWN

SLOPE = 0.25  # that PReLU begins with ([M] 2.1)


class Plain(Network):
  """`config.model.plain`: its layers, scanned as the units of a stage are, and the head."""

  def maps(self, x: jax.Array, train: bool) -> dict[str, Map]:
    """What the last layer makes of images."""
    count = self.config.plain.layers - 1
    x = Layer(self.config, name="first")(x.astype(self.config.dtype))
    if count:
      axes: dict[Any, int] = {"params": 0, SOWN: 0}
      rest = nn.scan(step, variable_axes=axes, split_rngs={"params": True}, length=count)
      x, _ = rest(Layer(self.config, name="rest"), x, None)
    return {"stage1": Map(x, 1)}


class Layer(nn.Module):
  """x [N, H, W, C] -> f(W x), [N, H, W, width]; without a bias. f is the activation."""

  config: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    plain = self.config.plain
    y = written(Conv(plain.width, 3, 1, self.config, name="conv")(x))
    if plain.activation == "linear":
      return y
    if plain.activation == "relu":
      return nn.relu(y)
    dtype = master_dtype(jnp.dtype(self.config.dtype))
    prelu = nn.PReLU(param_dtype=dtype, negative_slope_init=SLOPE, name="prelu")
    out: jax.Array = prelu(y)
    return out


def step(layer: Layer, x: jax.Array, _: None) -> tuple[jax.Array, None]:
  """A turn of the loop over the layers."""
  return layer(x), None
