"""Colour noise, mean subtraction, random crop and flip, inside the jitted step ([R] 3.4, 4.2).

The crop comes after the mean is subtracted, so that the padding is zero there, as in the paper. An
augmentation of one's own stands in place of crop and flip, which it may call:

    @resnet_jax.augmentation("noisy", deviation=0.1)
    def noisy(key, images, config: Any):
      images = augment.standard(key, images, config)
      noise = jax.random.normal(jax.random.fold_in(key, 1), images.shape, images.dtype)
      return images + config.noisy.deviation * noise
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import errors
from resnet_jax.config import COMPUTED
from resnet_jax.registry import Registry

AUGMENTATIONS = Registry("augmentation", "data.augmentation")

# Constants, of images scaled to [0, 1]: the mean, and what the difference is multiplied by.
# Torch's weights expect the first; Caffe's a mean subtracted from values of 0 to 255.
CONSTANTS = {
  "imagenet": ((0.485, 0.456, 0.406), (1 / 0.229, 1 / 0.224, 1 / 0.225)),
  "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (255.0, 255.0, 255.0)),
}
# Luma, and the principal components of ImageNet's colours: a vector a column.
_GREY = (0.299, 0.587, 0.114)
_PCA_VALUES = (0.2175, 0.0188, 0.0045)
_PCA_VECTORS = (
  (-0.5675, 0.7192, 0.4009),
  (-0.5808, -0.0045, -0.8140),
  (-0.5836, -0.6948, 0.4203),
)
KINDS = (*COMPUTED, *CONSTANTS)
EXAMPLE = "0.4914,0.4822,0.4465/0.2470,0.2435,0.2616"  # CIFAR-10's own


def check(kind: str) -> None:
  """Raises a UserError for a kind of normalization that there is not."""
  if kind not in COMPUTED and constants(kind) is None:
    error = errors.unknown("config.data.normalize", kind, KINDS)
    raise errors.UserError(
      f"{error}, or write the mean and the deviation of each channel of images in [0, 1], such as "
      f"{EXAMPLE}"
    )


def constants(kind: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
  """The mean and the scale of a kind that needs no training set, each a number a channel.

  None for any other: "0.49,0.48,0.45/0.25,0.24,0.26" is a mean and a deviation.
  """
  if kind in CONSTANTS:
    return CONSTANTS[kind]
  try:
    mean, deviation = ([float(number) for number in part.split(",")] for part in kind.split("/"))
  except ValueError:
    return None
  fits = all(0 <= value <= 1 for value in mean) and all(0 < value <= 1 for value in deviation)
  if len(mean) != len(deviation) or not fits:
    return None
  return tuple(mean), tuple(1 / value for value in deviation)


def written(mean: np.ndarray, scale: np.ndarray) -> str:
  """The kind whose constants are these, a mean of each pixel averaged over positions.

  Args:
    mean: [C] or [H, W, C], of images in [0, 1].
    scale: [C] or [1].
  """
  mean = np.asarray(mean, np.float64).reshape(-1, np.shape(mean)[-1]).mean(0)
  deviation = 1 / np.broadcast_to(np.asarray(scale, np.float64), mean.shape)
  return "/".join(",".join(f"{value:.9g}" for value in values) for values in (mean, deviation))


def check_channels(config: Any, channels: int) -> None:
  """Raises a UserError where `config.data` asks for what images of so many channels lack."""
  wanted = {key: 3 for key in ("color_jitter", "lighting") if config[key]}
  if found := constants(config.normalize):
    wanted["normalize"] = len(found[0])
  for key, needed in wanted.items():
    if needed != channels:
      raise errors.UserError(
        f"config.data.{key}={config[key]!r} is for images of {needed} "
        f"channel{'s' * (needed != 1)}; those of {config.name} have {channels}"
      )


def normalization(
  train_images: np.ndarray | None, kind: str, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray]:
  """The constants of `normalize`, of images scaled to [0, 1], computed in float64 on the host.

  Args:
    train_images: uint8 [N, H, W, C]; None will do for constants.
    kind: "pixel_mean", the papers' per-pixel mean; "channel_mean_std", the mean and deviation
      of each channel, as in the authors' Torch release; or one of `constants`.
    dtype: what they are rounded to, the type of the run (`steps.Task.dtype`).

  Returns:
    mean and scale, of that type: [H, W, C] and [1], or both [C].

  Raises:
    UserError: unknown kind.
  """
  check(kind)
  mean, scale = constants(kind) or _computed(train_images, kind)
  return np.asarray(mean, dtype), np.asarray(scale, dtype)


def _computed(train_images: np.ndarray | None, kind: str) -> tuple[Any, Any]:
  """The mean and the scale of these images, float64."""
  assert train_images is not None
  if kind == "pixel_mean":
    return train_images.sum(axis=0, dtype=np.int64) / (255 * len(train_images)), [1]
  by_channel = np.moveaxis(train_images, -1, 0)
  counts = np.stack([np.bincount(values.ravel(), minlength=256) for values in by_channel])
  shares = counts / counts.sum(axis=1, keepdims=True)
  values = np.arange(256) / 255
  mean = shares @ values
  deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
  return mean, 1 / np.where(deviation > 0, deviation, 1)


def normalize(
  images: jax.Array, mean: jax.Array, scale: jax.Array, dtype: Any = jnp.float32
) -> jax.Array:
  """`(images / 255 - mean) * scale`: uint8 [B, H, W, C] to `dtype` [B, H, W, C]."""
  return center(jnp.asarray(images, dtype) / 255, mean, scale)


def center(images: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
  """`(images - mean) * scale` of images in [0, 1]."""
  return (images - jnp.asarray(mean, images.dtype)) * jnp.asarray(scale, images.dtype)


def color(key: jax.Array, images: jax.Array, jitter: float, lighting: float) -> jax.Array:
  """Colour noise as in the Torch release: jitter, then PCA lighting ([R] 3.4, AlexNet's).

  Brightness, contrast and saturation are each blended with black, the image's mean grey and the
  pixel's grey, by a factor of 1 - jitter to 1 + jitter and in random order. Each is an affine map
  of the three colours, so they are composed first and each pixel is mapped once.

  Args:
    key: draws the factors, the order and the noise for each example of the batch.
    images: [B, H, W, 3] in [0, 1]; other channels where both amounts are 0.
    jitter: 0.4 in the Torch release; 0: none.
    lighting: deviation of the noise along each principal component, 0.1 there; 0: none.

  Returns:
    [B, H, W, 3], not clipped.
  """
  if not jitter and not lighting:
    return images
  keys = jax.random.split(key, len(images))
  means = images.mean((1, 2))
  matrix, offset = jax.vmap(_color_map, (0, 0, None, None))(keys, means, jitter, lighting)
  mapped: jax.Array = jnp.einsum("bhwc,bdc->bhwd", images, matrix) + offset[:, None, None]
  return mapped


def _color_map(
  key: jax.Array, mean: jax.Array, jitter: float, lighting: float
) -> tuple[jax.Array, jax.Array]:
  """One image's matrix [3, 3] and offset [3], of its mean colour [3]."""
  factor_key, order_key, noise_key = jax.random.split(key, 3)
  dtype = mean.dtype
  grey = jnp.tile(jnp.asarray(_GREY, dtype), (3, 1))  # a colour to its grey, in all channels
  matrix, offset = jnp.eye(3, dtype=dtype), jnp.zeros(3, dtype)
  factors = jax.random.uniform(factor_key, (3,), dtype, 1 - jitter, 1 + jitter)
  for which in jax.random.permutation(order_key, 3):
    a = factors[which]
    blend = jnp.where(which == 2, (1 - a) * grey, 0)  # saturation
    towards = jnp.where(which == 1, (1 - a) * grey @ (matrix @ mean + offset), 0)  # contrast
    step = a * jnp.eye(3, dtype=dtype) + blend
    matrix, offset = step @ matrix, step @ offset + towards
  noise = lighting * jax.random.normal(noise_key, (3,), dtype) * jnp.asarray(_PCA_VALUES, dtype)
  return matrix, offset + jnp.asarray(_PCA_VECTORS, dtype) @ noise


@AUGMENTATIONS("standard")
def standard(key: jax.Array, images: jax.Array, config: Any) -> jax.Array:
  """Random crop and flip.

  Args:
    key: a random key of the step.
    images: [B, H, W, C], normalized.
    config: `config.data`, with `pad` and `flip` as numbers.
  """
  return random_crop_flip(key, images, config.pad, config.flip)


def random_crop_flip(key: jax.Array, images: jax.Array, pad: int, flip: bool) -> jax.Array:
  """Pads each image with zeros, crops it back at a random place and mirrors every other one.

  Args:
    key: draws one place and one coin for each example of the batch.
    images: [B, H, W, C], normalized.
    pad: pixels on each side; 0: no crop.
    flip: whether to mirror left and right with probability 1/2.

  Returns:
    [B, H, W, C] of the same type.
  """
  batch, *shape = images.shape
  place_key, coin_key = jax.random.split(key)
  if pad:
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    places = jax.random.randint(place_key, (batch, 2), 0, 2 * pad + 1)

    def crop(image: jax.Array, place: jax.Array) -> jax.Array:
      return jax.lax.dynamic_slice(image, (*place, 0), shape)

    images = jax.vmap(crop)(padded, places)
  if flip:
    mirrored = jax.random.bernoulli(coin_key, shape=(batch, 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
  return images
