"""Crop, flip and colour noise: what may come out, how often, and in which type."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.config import default_config
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


def exact(images, kind):
  """The normalized images, beyond the precision of float64."""
  x = images.astype(np.longdouble) / 255
  if kind == "pixel_mean":
    return x - x.mean(0)
  if kind == "channel_mean_std":
    return (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
  if kind == "imagenet":
    return (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
  return 255 * x - np.array([123.68, 116.779, 103.939])


@pytest.mark.parametrize("kind", augment.KINDS)
def test_normalization_of_a_float64_run(x64, kind):
  images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 3), np.uint8)
  constants = augment.normalization(images, kind, np.float64)
  assert {constant.dtype for constant in constants} == {np.dtype(np.float64)}
  found = np.asarray(augment.normalize(images, *constants, jnp.float64))
  np.testing.assert_allclose(found, exact(images, kind), rtol=0, atol=4e-16 * constants[1].max())


# Of the constants of these images, as they were when they were computed for float32 alone.
DIGESTS = {
  "pixel_mean": "136d51efd8ec099d",
  "channel_mean_std": "bc7c71d9965c3614",
  "imagenet": "d3103124e10ccd0f",
  "caffe": "d3497fc863f6ed68",
}


@pytest.mark.parametrize("kind", augment.KINDS)
def test_normalization_of_a_float32_run_keeps_its_bits(kind):
  images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 3), np.uint8)
  mean, scale = augment.normalization(images, kind)
  assert {mean.dtype, scale.dtype} == {np.dtype(np.float32)}
  assert hashlib.sha256(mean.tobytes() + scale.tobytes()).hexdigest()[:16] == DIGESTS[kind]


def test_unknown_normalization_is_refused():
  with pytest.raises(UserError, match="config.data.normalize='pixel_men'.*mean 'pixel_mean'"):
    augment.normalization(np.zeros((1, 2, 2, 1), np.uint8), "pixel_men")


def obvious_color(image, factors, order, noise):
  """Brightness, contrast, saturation in that order of names, one after another on the pixels."""

  def grey(x):
    return x @ np.array([0.299, 0.587, 0.114])

  for which in order:
    a = factors[which]
    towards = (np.zeros_like(image), grey(image).mean(), grey(image)[..., None])[which]
    image = a * image + (1 - a) * towards
  vectors = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
  )
  return image + sum(
    noise[i] * value * vectors[:, i] for i, value in enumerate((0.2175, 0.0188, 0.0045))
  )


def test_color_is_what_the_pixels_give_one_after_another(x64):
  images = np.random.default_rng(0).random((6, 5, 4, 3))
  key = jax.random.key(3)
  found = augment.color(key, images, 0.4, 0.1)
  orders = set()
  for one, image, result in zip(jax.random.split(key, 6), images, found, strict=True):
    factor_key, order_key, noise_key = jax.random.split(one, 3)
    factors = np.asarray(jax.random.uniform(factor_key, (3,), float, 0.6, 1.4))
    order = np.asarray(jax.random.permutation(order_key, 3))
    noise = 0.1 * np.asarray(jax.random.normal(noise_key, (3,), float))
    orders.add(tuple(order))
    np.testing.assert_allclose(result, obvious_color(image, factors, order, noise), atol=1e-12)
  assert len(orders) > 1


def test_no_color_noise_is_no_change():
  images = np.random.default_rng(0).random((2, 4, 4, 1))
  assert augment.color(jax.random.key(0), images, 0.0, 0.0) is images


@pytest.mark.parametrize("key", ["normalize", "color_jitter", "lighting"])
def test_grey_images_have_no_colour_settings(key):
  config = default_config().data
  config.name = "digits"
  config[key] = {"normalize": "imagenet"}.get(key, 0.1)
  with pytest.raises(UserError, match=f"config.data.{key}=.* images of 3 channels; .*have 1"):
    augment.check_channels(config, 1)
  augment.check_channels(config, 3)


def test_constants_are_written_as_numbers():
  mean, scale = augment.normalization(None, "0.1,0.2,0.3/0.5,0.25,0.2")
  np.testing.assert_array_equal(mean, np.float32([0.1, 0.2, 0.3]))
  np.testing.assert_array_equal(scale, np.float32([2, 4, 5]))
  images = np.random.default_rng(0).integers(0, 200, (50, 4, 4, 3), np.uint8)
  given = augment.normalization(images, "channel_mean_std")
  for found, expected in zip(
    augment.normalization(None, augment.written(*given)), given, strict=True
  ):
    np.testing.assert_array_equal(found, expected)
  given = augment.normalization(images, "pixel_mean")
  mean, scale = augment.normalization(None, augment.written(*given))
  np.testing.assert_allclose(mean, images.mean((0, 1, 2)) / 255, rtol=1e-6)
  np.testing.assert_array_equal(scale, np.ones(3))


@pytest.mark.parametrize(
  "kind", ["0.1", "0.1/0.2,0.3", "0.1/0.2/0.3", "nan/1", "-1/1", "0.5/0", "a/b", "103.9/1"]
)
def test_numbers_that_are_no_constants(kind):
  with pytest.raises(
    UserError, match="mean and the deviation of each channel of images in .0, 1.,"
  ):
    augment.check(kind)


@pytest.mark.parametrize(("kind", "needed"), [("0.5/0.2", 1), ("0.5,0.5/1,1", 2), ("imagenet", 3)])
def test_constants_are_for_so_many_channels(kind, needed):
  config = default_config().data
  config.normalize = kind
  augment.check_channels(config, needed)
  with pytest.raises(
    UserError, match=f"is for images of {needed} channels?; those of cifar10 have 4"
  ):
    augment.check_channels(config, 4)
