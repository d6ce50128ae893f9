"""The papers' tests against a slow, obvious way: Pillow's crops one by one, softmax, mean."""

import math
import os
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from resnet_jax.config import load_file
from resnet_jax.data.photos.views import VIEWS
from resnet_jax.errors import UserError
from resnet_jax.training import evaluation, setup, steps


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
  """A folder of class folders: real photographs where RESNET_JAX_PHOTOS names some."""
  root = tmp_path_factory.mktemp("photographs")
  real = os.environ.get("RESNET_JAX_PHOTOS")
  found = sorted(pathlib.Path(real).rglob("*.JPEG"))[:3] if real else [None] * 3
  for number, path in enumerate(found):
    for split in ("train", "val"):
      folder = root / split / f"class{number}"
      folder.mkdir(parents=True, exist_ok=True)
      target = folder / f"{number}.jpg"
      if path is None:
        width, height = ((90, 70), (70, 90), (80, 80))[number]
        made(number, width, height).save(target, quality=95)
      else:
        target.write_bytes(path.read_bytes())
  return root


def made(seed, width, height):
  """Something with edges and colours, but no noise."""
  y, x = np.mgrid[:height, :width] / 20
  waves = [np.sin(x * (seed + 1) + c) * np.cos(y * (seed % 3 + 1)) for c in range(3)]
  return Image.fromarray(np.uint8(127.5 + 127 * np.stack(waves, -1)))


@pytest.fixture(scope="module")
def run(photographs, request):
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(request.config.rootpath)
    config = load_file("configs/imagenet/resnet18.py:folder")
  config.data.dir, config.data.batch_size = str(photographs), 8
  config.data.image_size, config.data.workers = 32, 0
  return setup.setup(config)


@pytest.fixture(scope="module")
def variables(run):
  state = jax.jit(lambda: steps.init(run.learner, (32, 32, 3)), out_shardings=run.replicated)()
  images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
  batch = run.on_devices(images, np.zeros(8, np.int32))
  statistics = jax.jit(lambda *given: steps.batch_statistics(run.learner, *given))
  return state.variables | {"batch_stats": statistics(state.variables, batch)}


def shorter_side(image, shorter):
  width, height = image.size
  scale = shorter / min(width, height)
  size = [shorter if side == min(width, height) else int(side * scale) for side in (width, height)]
  return image.resize(size, Image.Resampling.BILINEAR)


def crop(image, left, top, width, height):
  return image.crop((left, top, left + width, top + height))


def obvious(image, test, size=32):
  """The views of a photograph, as Pillow images."""

  def scaled(pixels):
    return round(pixels * size / 224)

  def middle(image, w, h):
    return crop(image, round((image.width - w) / 2), round((image.height - h) / 2), w, h)

  if test == "320":
    large = shorter_side(image, scaled(320))
    return [middle(large, scaled(320), scaled(320))]
  if test == "multi-scale":
    every = [shorter_side(image, scaled(side)) for side in (224, 256, 384, 480, 640)]
    return [middle(one, one.width // 32 * 32, one.height // 32 * 32) for one in every]
  image = shorter_side(image, scaled(256))
  if test == "single":
    return [middle(image, size, size)]
  right, bottom = image.width - size, image.height - size
  five = [crop(image, *corner, size, size) for corner in ((0, 0), (right, 0), (0, bottom))]
  five += [crop(image, right, bottom, size, size), middle(image, size, size)]
  return five + [one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in five]


@pytest.mark.slow
@pytest.mark.parametrize("test", VIEWS)
def test_views_are_the_papers(run, variables, photographs, test):
  found = evaluation.evaluate(run, variables, evaluation.groups(run, test))
  apply = jax.jit(run.learner.model.apply)
  mean, scale = (np.asarray(constant) for constant in run.normalization)
  for path in sorted((photographs / "val").rglob("*.jpg")):
    with Image.open(path) as photograph:
      images = [np.asarray(view) for view in obvious(photograph.convert("RGB"), test)]
    shares = []
    for image in images:
      logits = apply(variables, ((image / 255 - mean) * scale)[None].astype("f"))
      shares.append(np.asarray(jax.nn.softmax(logits[0])))
    number = int(path.parent.name[-1])
    assert found.kept["labels"][number] == number
    assert found.kept["predictions"][number] == np.mean(shares, 0).argmax()
  assert math.isfinite(found.metrics["loss"])


@pytest.mark.slow
def test_every_example_counts_once_whatever_the_batch(run, variables, monkeypatch):
  whole = evaluation.evaluate(run, variables, evaluation.groups(run))
  monkeypatch.setattr(evaluation, "PIXELS", 1)  # one image a device: eight at a time
  small = evaluation.evaluate(run, variables, evaluation.groups(run))
  assert whole.metrics["loss"] == pytest.approx(small.metrics["loss"], rel=1e-5)
  np.testing.assert_array_equal(whole.kept["labels"], range(3))
  np.testing.assert_array_equal(whole.kept["predictions"], small.kept["predictions"])


def test_an_unknown_test_is_refused(run):
  with pytest.raises(UserError, match="--test='10crop' is unknown; did you mean '10-crop'"):
    next(evaluation.groups(run, "10crop"))


def test_images_of_one_size_have_one_view(repository, monkeypatch):
  monkeypatch.chdir(repository)
  digits = setup.setup(load_file("configs/resnet.py:depth=8,digits"))
  with pytest.raises(UserError, match="--test=10-crop is for photographs; .* digits are of one"):
    evaluation.groups(digits, "10-crop")
