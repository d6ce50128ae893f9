"""Mean subtraction, the padded random crop and the flip, inside the jitted step ([R] 4.2).

The crop comes after the mean is subtracted, so that the padding is zero there, as in the paper.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import errors

# Constants, of images scaled to [0, 1]: the mean, and what the difference is multiplied by.
# Torch's weights expect the first; Caffe's a mean subtracted from values of 0 to 255.
CONSTANTS = {
  "imagenet": ((0.485, 0.456, 0.406), (1 / 0.229, 1 / 0.224, 1 / 0.225)),
  "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (255.0, 255.0, 255.0)),
}
KINDS = ("pixel_mean", "channel_mean_std", *CONSTANTS)


def check(kind: str) -> None:
  """Raises a UserError for a kind of normalization that there is not."""
  if kind not in KINDS:
    raise errors.unknown("config.data.normalize", kind, KINDS)


def normalization(train_images: np.ndarray, kind: str) -> tuple[Any, Any]:
  """The constants of `normalize`, of images scaled to [0, 1], computed on the host.

  Args:
    train_images: uint8 [N, H, W, C].
    kind: "pixel_mean", the papers' per-pixel mean; "channel_mean_std", the mean and deviation
      of each channel, as in the authors' Torch release; or one of `CONSTANTS`.

  Returns:
    mean and scale, float32: [H, W, C] and [1], or both [C].

  Raises:
    UserError: unknown kind.
  """
  check(kind)
  if kind in CONSTANTS:
    mean, scale = CONSTANTS[kind]
    return np.asarray(mean, np.float32), np.asarray(scale, np.float32)
  if kind == "pixel_mean":
    total = train_images.sum(axis=0, dtype=np.int64)
    return np.float32(total / (255 * len(train_images))), np.ones(1, np.float32)
  channels = train_images.shape[-1]
  counts = np.stack(
    [np.bincount(train_images[..., c].ravel(), minlength=256) for c in range(channels)]
  )
  shares = counts / counts.sum(axis=1, keepdims=True)
  values = np.arange(256) / 255
  mean = shares @ values
  deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
  return np.float32(mean), np.float32(1 / np.where(deviation > 0, deviation, 1))


def normalize(images: jax.Array, mean: jax.Array, scale: jax.Array, dtype=jnp.float32) -> jax.Array:
  """`(images / 255 - mean) * scale`: uint8 [B, H, W, C] to `dtype` [B, H, W, C]."""
  scaled = jnp.asarray(images, dtype) / 255
  return (scaled - jnp.asarray(mean, dtype)) * jnp.asarray(scale, dtype)


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
    crop = lambda image, place: jax.lax.dynamic_slice(image, (*place, 0), shape)
    images = jax.vmap(crop)(padded, places)
  if flip:
    mirrored = jax.random.bernoulli(coin_key, shape=(batch, 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
  return images
