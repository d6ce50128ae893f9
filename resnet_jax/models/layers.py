"""The layers that units are made of: convolution and batch normalization.

Arrays are NHWC, kernels HWIO. Convolutions have no bias (BN or a pre-activation follows) and pad
kernel // 2 zeros on both sides, as Caffe and Torch do; "SAME" would pad one side for stride 2.

Where kernels of our own compute a convolution, BN and ReLU before it write no map: they make a
`Deferred`, and the convolution that reads it applies them.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from resnet_jax import native
from resnet_jax.errors import UserError
from resnet_jax.models.convolution import Geometry, convolution
from resnet_jax.models.initializers import KERNEL
from resnet_jax.models.operation import KEPT
from resnet_jax.models.surrounded import Affine, activated, defined_moments, moments_of, surrounded

BN = r"(?:.*[/_])?bn\d*"  # the path of a BN, the names of modules joined by slashes


class Deferred(struct.PyTreeNode):
  """relu(x * factor + offset), which is not written yet.

  Attributes:
    x: [N, H, W, C].
    moments: of x, if a convolution made it: the mean [N, C] over each image, and the sum [N, C] of
      the squares about it.
    attached: whether they have a gradient, which goes to what made x; else whoever reads them takes
      `moments_of`, for which nobody has to keep x a second time.
    affine: factor and offset, each [N, C]; None: 1 and 0.
    relu: whether there is a ReLU; only behind factor and offset.
    source: what the convolution that made x read. Who reads that too should read it here: then its
      gradient is added within the convolution's.
  """

  x: jax.Array
  moments: tuple[jax.Array, jax.Array] | None = None
  attached: bool = struct.field(pytree_node=False, default=True)
  affine: Affine | None = None
  relu: bool = struct.field(pytree_node=False, default=False)
  source: jax.Array | None = None

  def write(self) -> jax.Array:
    """The map."""
    return activated(self.x, self.affine, self.relu)


Map = jax.Array | Deferred


def written(x: Map) -> jax.Array:
  """The map as an array."""
  return x.write() if isinstance(x, Deferred) else x


def deferred(x: Map, config: Any) -> Map:
  """What BN and ReLU need not write, if kernels of our own compute with the `config.model`."""
  if isinstance(x, Deferred) or not native_lanes(config) or x.shape[-1] % native_lanes(config):
    return x
  return Deferred(x)


def like(x: Map, y: Map) -> Map:
  """y in the form that x has, as a loop must hand it on."""
  if not isinstance(x, Deferred):
    return written(y)
  if isinstance(y, Deferred):
    return y
  mean, squares = defined_moments(y)
  return Deferred(y, (mean, squares), attached=False)


def native_lanes(config: Any) -> int:
  """Of how many channels kernels of our own compute multiples; 0 where there are none."""
  if config.kernels != "auto" or config.dtype not in ("float32", "float64"):
    return 0
  return native.lanes(config.dtype) if jax.default_backend() == "cpu" else 0


class Conv(nn.Module):
  """A convolution by `kernel` x `kernel`; without a bias, or with one that begins at `bias`.

  With `write` False it makes a `Deferred` where kernels of our own compute it.
  """

  features: int
  kernel: int
  strides: int
  config: Any
  bias: float | None = None
  dilation: int = 1
  write: bool = True

  @nn.compact
  def __call__(self, x: Map, add: jax.Array | None = None) -> Map:
    """x [N, H, W, C] -> [N, H / strides, W / strides, features], + add."""
    dtype = jnp.dtype(self.config.dtype)
    start = x if isinstance(x, Deferred) else Deferred(x.astype(dtype))
    shape = (self.kernel, self.kernel, start.x.shape[-1], self.features)
    kernel = self.param("kernel", KERNEL[self.config.init], shape, master_dtype(dtype))
    kernel = kernel.astype(dtype)
    pads, steps = (self.kernel // 2 * self.dilation,) * 2, (self.dilation,) * 2
    at = Geometry((self.strides,) * 2, (pads, pads), steps)
    lanes = native_lanes(self.config)
    if self.bias is None and lanes and self.features % lanes == 0:
      size = (start.x.shape[0], *at.size(start.x.shape, shape), self.features)
      fits = add is not None and (add.shape, add.dtype) == (size, dtype)
      attached = not fits  # a sum is kept by the next unit, which reads it
      within = add if fits else None
      y, mean, squares, source = surrounded(
        start.x, kernel, start.affine, within, relu=start.relu, attached=attached, at=at
      )
      if add is not None and not fits:
        return add + y
      return y if self.write else Deferred(y, (mean, squares), attached, source=source)
    y = convolution(start.write(), kernel, at.strides, at.padding, rhs_dilation=at.dilation)
    if self.bias is not None:
      constant = nn.initializers.constant(self.bias)
      y += self.param("bias", constant, (self.features,), master_dtype(dtype)).astype(dtype)
    return y if add is None else y + add


def master_dtype(dtype: Any) -> Any:
  """Parameters and statistics are float32, or float64 where the computation is."""
  return jnp.promote_types(jnp.float32, dtype)


class BatchNorm(nn.Module):
  """Batch normalization [B] over groups of `group_size` consecutive examples.

  In training each group of the batch is normalized by its own mean and biased variance, as the
  paper's two GPUs did with 64 examples each, whatever the number of devices here; 0 makes the
  batch one group. The running statistics move towards the mean over groups by `1 - decay`.
  Statistics are float32 (or float64); the result has the dtype of `x`, of shape [N, H, W, C].
  If `frozen`, it is the same in training as in evaluation, and scale and bias have no gradient.
  """

  decay: float
  epsilon: float
  group_size: int = 0
  frozen: bool = False
  use_running_average: bool = False

  @nn.compact
  def __call__(self, x: Map) -> Map:
    if isinstance(x, Deferred) and (x.affine or x.relu):
      x = Deferred(x.write())
    array = x.x if isinstance(x, Deferred) else x
    channels, dtype = array.shape[-1], master_dtype(array.dtype)
    scale = self.param("scale", nn.initializers.ones, (channels,), dtype)
    bias = self.param("bias", nn.initializers.zeros, (channels,), dtype)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), dtype)
    running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), dtype)

    if self.frozen:
      if not re.fullmatch(BN, self.name or ""):  # the optimizer would not find it
        raise UserError(f"with norm.frozen a BN must be named bn, bn1 or x_bn, not {self.name!r}")
      scale, bias = lax.stop_gradient((scale, bias))
    if self.frozen or self.use_running_average:
      factor = scale * lax.rsqrt(running_var.value + self.epsilon)
      offset = bias - running_mean.value * factor
      if isinstance(x, Deferred):
        shape = (x.x.shape[0], channels)
        return x.replace(affine=(jnp.broadcast_to(factor, shape), jnp.broadcast_to(offset, shape)))
      return (x * factor + offset).astype(x.dtype)

    size = self.group_size or array.shape[0]
    if isinstance(x, Deferred):
      mean, var = of_groups(x, size)
    else:
      groups = x.reshape(x.shape[0] // size, size, *x.shape[1:]).astype(dtype)
      # One reading of x gives both sums, where the sum of (x - mean)^2 needs the mean first; about
      # the running mean, so that little is lost in the difference where x is far from zero.
      shifted = groups - running_mean.value
      mean, square = (a.mean((1, 2, 3), keepdims=True) for a in (shifted, jnp.square(shifted)))
      # Kept as they are: the derivative of what follows asks for them, and would read x for them.
      mean, square = checkpoint_name(mean, KEPT), checkpoint_name(square, KEPT)
      var = jnp.maximum(square - jnp.square(mean), 0)
      mean = running_mean.value + mean
    if not self.is_initializing():
      for running, new in ((running_mean, mean), (running_var, var)):
        running.value = self.decay * running.value + (1 - self.decay) * new.reshape(
          -1, channels
        ).mean(0)
    factor = scale * lax.rsqrt(var + self.epsilon)
    offset = bias - mean * factor
    if isinstance(x, Deferred):
      return x.replace(affine=(jnp.repeat(factor, size, 0), jnp.repeat(offset, size, 0)))
    y: jax.Array = groups * factor + offset
    return y.reshape(x.shape).astype(x.dtype)


def of_groups(x: Deferred, size: int) -> tuple[jax.Array, jax.Array]:
  """The mean and the biased variance [G, C] of x over groups of so many examples."""
  if x.moments is None:
    mean, squares = defined_moments(x.x)
  else:
    mean, squares = x.moments if x.attached else moments_of(x.x, x.moments)
  positions = x.x.shape[1] * x.x.shape[2]
  means, squares = (a.reshape(-1, size, a.shape[-1]) for a in (mean, squares))
  mean = means.mean(1)
  within, between = squares.mean(1) / positions, jnp.square(means - mean[:, None]).mean(1)
  return mean, within + between
