"""The random crop and flip: what may come out, how often, and in which type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data import augment
from resnet_jax.errors import UserError

IMAGES = np.random.default_rng(0).normal(size=(200, 5, 6, 2)).astype(np.float32)


def views(image, pad, flip):
  """Everything that the padded crop and the flip can make of one image."""
  height, width, _ = image.shape
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  for top in range(2 * pad + 1):
    for left in range(2 * pad + 1):
      crop = padded[top : top + height, left : left + width]
      yield crop
      if flip:
        yield crop[:, ::-1]


@pytest.mark.parametrize(("pad", "flip"), [(0, False), (0, True), (1, False), (1, True)])
def test_every_view_comes_up_and_no_other(pad, flip):
  result = np.asarray(augment.random_crop_flip(jax.random.key(1), IMAGES, pad, flip))
  seen = set()
  for image, out in zip(IMAGES, result, strict=True):
    (match,) = (i for i, view in enumerate(views(image, pad, flip)) if np.array_equal(view, out))
    seen.add(match)
  assert len(seen) == (2 * pad + 1) ** 2 * (1 + flip)


def test_draws_do_not_depend_on_the_sharding():
  mesh = jax.sharding.Mesh(jax.devices(), "data")
  spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  run = jax.jit(augment.random_crop_flip, static_argnums=(2, 3))
  whole = run(jax.random.key(2), IMAGES, 2, True)
  sharded = run(jax.random.key(2), jax.device_put(IMAGES, spread), 2, True)
  np.testing.assert_array_equal(whole, sharded)


def test_float64_throughout(x64):
  images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
  mean, scale = augment.normalization(images, "channel_mean_std")
  out = augment.normalize(images, mean, scale, jnp.float64)
  out = augment.random_crop_flip(jax.random.key(0), out, 1, True)
  assert out.dtype == jnp.float64
  assert {mean.dtype, scale.dtype} == {np.dtype(np.float32)}


def test_unknown_normalization_is_refused():
  with pytest.raises(UserError, match="config.data.normalize='pixel_men'.*mean 'pixel_mean'"):
    augment.normalization(np.zeros((1, 2, 2, 1), np.uint8), "pixel_men")
