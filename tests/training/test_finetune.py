"""A run that begins with the weights of another."""

import types

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file as load_tensors
from safetensors.numpy import save_file

import resnet_jax
from resnet_jax import api, convert, data, models
from resnet_jax.config import default_config, load_file
from resnet_jax.convert import runs
from resnet_jax.data import augment
from resnet_jax.data.photos import dataset as photos
from resnet_jax.data.photos import views
from resnet_jax.runs import workdir
from resnet_jax.training import finetune, setup, steps


@pytest.fixture(scope="module")
def source(tmp_path_factory, request):
  """A run of some steps on the digits."""
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(request.config.rootpath)
    config = load_file("configs/resnet.py:depth=8,digits")
    config.train.steps = 4
    path = tmp_path_factory.mktemp("source") / "run"
    resnet_jax.train_run(config, path)
  return path


@pytest.mark.slow
def test_it_begins_with_all_but_the_classifier(source, repository, monkeypatch, tmp_path):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={source}")
  config.finetune.frozen = "stem,stage1"
  run = setup.setup(config)
  fresh = jax.jit(lambda: steps.init(run.learner, (8, 8, 1)), out_shardings=run.replicated)()
  state, old = finetune.begin(config, fresh), resnet_jax.load_run(source)
  for tree in ("params", "batch_stats"):
    for part, found in getattr(state, tree).items():
      expected = getattr(fresh, tree) if part == "classifier" else old.variables[tree]
      jax.tree.map(np.testing.assert_array_equal, found, expected[part])
  config.train.steps = 3
  result = resnet_jax.train_run(config, tmp_path / "tuned")
  assert result["status"] == "done"
  tuned = resnet_jax.load_run(tmp_path / "tuned")
  same = jax.tree.map(np.array_equal, tuned.variables, old.variables)
  for part, equal in same["params"].items():
    assert (
      all(jax.tree.leaves(equal)) if part in ("stem", "stage1") else not any(jax.tree.leaves(equal))
    ), part


@pytest.mark.slow
def test_a_resumed_run_needs_the_weights_no_more(source, repository, monkeypatch, tmp_path):
  monkeypatch.chdir(repository)
  (tmp_path / "moved").symlink_to(source)
  config = load_file(f"configs/finetune.py:weights={tmp_path / 'moved'}")
  config.train.steps, config.optim.schedule = 2, "constant"
  resnet_jax.train_run(config, tmp_path / "tuned")
  (tmp_path / "moved").unlink()
  config.train.steps = 4
  assert resnet_jax.train_run(config, tmp_path / "tuned")["steps"] == 4


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"model.depth": 14}, "of a net with model.depth=8; config.model.depth is 14"),
    ({"finetune.weights": "no/such/run"}, "'no/such/run' is neither a run's folder nor a weights"),
    (
      {"finetune.weights": "", "model.norm.frozen": True},
      "config.model.norm.frozen=True keeps every BN as it begins",
    ),
    ({"finetune.frozen": "stage9"}, "config.finetune.frozen='stage9' is unknown; did you mean"),
  ],
)
def test_what_cannot_work_is_refused(source, repository, monkeypatch, tmp_path, settings, message):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={source}")
  config.update_from_flattened_dict(settings)
  with pytest.raises(resnet_jax.UserError, match=message):
    resnet_jax.train_run(config, tmp_path / "tuned")
  assert workdir.read_config(tmp_path / "tuned") is None


def test_another_kind_of_image_is_refused_by_the_layer(source, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={source}")
  run = setup.setup(config)
  colour = setup.template(run.learner, (8, 8, 3), run.replicated)
  with pytest.raises(resnet_jax.UserError, match=r"stem/conv/kernel has the shape \(3, 3, 1, 16\)"):
    finetune.begin(config, colour)


@pytest.mark.parametrize("argument", ["weights", "depth=8", "x"])
def test_arguments_of_the_file(repository, monkeypatch, argument):
  monkeypatch.chdir(repository)
  with pytest.raises(resnet_jax.UserError, match="is unknown .* write weights=... or dir=..."):
    load_file(f"configs/finetune.py:{argument}")


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
  """A run on CIFAR-10 that has not trained."""
  path = tmp_path_factory.mktemp("colour") / "run"
  config = default_config()
  config.model.depth = 8
  variables = jax.jit(models.build(config.model, 10).init)(
    jax.random.key(0), np.zeros((1, 32, 32, 3))
  )
  weights = path.parent / "weights.safetensors"
  save_file(convert.tensors_of(config, variables)[0], weights)
  config.data.normalize = "pixel_mean"
  runs.write(path, weights, config, variables)
  return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
  root, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
  for split in ("train", "val"):
    for label in ("cat", "dog"):
      (root / split / label).mkdir(parents=True)
      for number in range(4):
        pixels = random.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(root / split / label / f"{number}.png")
  return root


@pytest.fixture
def cifar(monkeypatch):
  """Images in place of CIFAR-10's, whose pixels have means of their own."""
  images = np.random.default_rng(0).integers(0, 200, (20, 32, 32, 3), np.uint8)
  load = data.load

  def replaced(config):
    if config.name != "cifar10":
      return load(config)
    split = data.Split(images, np.zeros(20, np.int32))
    return data.Dataset(data.info(config), split, split, "of cifar10")

  monkeypatch.setattr(data, "load", replaced)
  return images


@pytest.mark.slow
def test_a_cifar_net_goes_on_with_photographs(
  colour, photographs, cifar, repository, monkeypatch, tmp_path, capsys
):
  """It keeps the constants that it was trained with, and never needs its old run again."""
  monkeypatch.chdir(repository)
  (tmp_path / "moved").symlink_to(colour)
  config = load_file(f"configs/finetune.py:weights={tmp_path / 'moved'},dir={photographs}")
  mean, scale = augment.constants(config.data.normalize)
  np.testing.assert_allclose(mean, cifar.mean((0, 1, 2)) / 255, rtol=1e-6)
  assert scale == (1, 1, 1) and config.data.image_size == 32
  config.data.batch_size, config.data.workers = 8, 0
  config.train.steps, config.optim.schedule = 1, "constant"
  assert resnet_jax.train_run(config, tmp_path / "tuned")["status"] == "done"
  text = f"images are normalized by {config.data.normalize}; the weights were trained with"
  assert f"{text} pixel_mean of cifar10" in capsys.readouterr().out
  (tmp_path / "moved").unlink()
  monkeypatch.setattr(data, "load", photos.load)
  config.train.steps = 2
  assert resnet_jax.train_run(config, tmp_path / "tuned")["steps"] == 2
  tuned = resnet_jax.load_run(tmp_path / "tuned")
  np.testing.assert_array_equal(tuned.normalization[0], np.float32(mean))
  path = photographs / "val" / "cat" / "0.png"
  image = tuned.read(path)  # as the run is tested
  np.testing.assert_array_equal(image, views.Views("single", 32)(path.read_bytes())["0"])
  assert tuned(image[None]).shape == (1, 2)


def checked(config):
  with pytest.raises(resnet_jax.UserError) as error:
    finetune.check(config)
  return str(error.value)


def test_a_grey_net_cannot_go_on_with_photographs(source, photographs, repository, monkeypatch):
  """It is refused once, and what can be done is said: by the file, and by a config of one's own."""
  monkeypatch.chdir(repository)
  with pytest.raises(resnet_jax.UserError) as error:
    load_file(f"configs/finetune.py:weights={source},dir={photographs}")
  assert str(error.value) == (
    f"config.finetune.weights={str(source)!r} are of a net for grey images and cannot go on with "
    "images of 3 channels, as folder has; finetune it on grey images of one size, such as the "
    "digits (leave dir= out), or begin with a net of colour images, such as one of "
    "configs/resnet.py on cifar10"
  )
  config = load_file(f"configs/finetune.py:weights={source}")
  config.data.name, config.data.dir, config.data.test_split = "folder", str(photographs), "val"
  config.data.normalize, config.data.pad = "imagenet", None
  assert checked(config) == str(error.value)


def test_a_colour_net_cannot_go_on_with_the_digits(colour, repository, monkeypatch):
  monkeypatch.chdir(repository)
  text = checked(load_file(f"configs/finetune.py:weights={colour}"))
  assert (
    "are of a net for colour images and cannot go on with images of 1 channel, as digits" in text
  )
  assert text.endswith("a folder of photographs: configs/finetune.py:weights=...,dir=...")


def test_the_mean_of_another_training_set_is_told(colour, repository, monkeypatch, capsys):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={colour}")
  config.data.name = "cifar100"
  finetune.check(config)
  assert capsys.readouterr().out == (
    "images are normalized by pixel_mean of cifar100; the weights were trained with pixel_mean of "
    "cifar10\n"
  )
  config.data.normalize = "imagenet"
  assert "with data.normalize='pixel_mean'; config.data.normalize is 'imagenet'" in checked(config)


def test_a_backbone_in_a_weights_file(colour, photographs, repository, monkeypatch, capsys):
  monkeypatch.chdir(repository)
  named = load_tensors(colour.parent / "weights.safetensors")
  path = colour.parent / "backbone.bin"
  save_file({f"backbone.{name}": named[name] for name in named if "linear" not in name}, path)
  config = load_file(f"configs/finetune.py:weights={path},dir={photographs}")
  assert (config.data.image_size, config.data.normalize) == (32, "imagenet")
  finetune.check(config)
  assert capsys.readouterr().out.startswith("backbone.bin: CIFAR net of 8 layers, basic units, ")
  whole = api.load(colour.parent / "weights.safetensors").variables
  params = whole["params"] | {"classifier": "anew"}
  zeros = jax.tree.map(jax.numpy.zeros_like, whole)
  old = types.SimpleNamespace(
    params=zeros["params"] | {"classifier": "anew"},
    batch_stats=zeros["batch_stats"],
    replace=lambda **new: new,
  )
  variables = dict(params=params, batch_stats=whole["batch_stats"])
  jax.tree.map(np.testing.assert_array_equal, finetune.begin(config, old), variables)


def test_a_file_that_holds_another_net_is_refused_before_anything_is_made(
  colour, photographs, repository, monkeypatch, tmp_path
):
  monkeypatch.chdir(repository)
  named = load_tensors(colour.parent / "weights.safetensors")
  path = tmp_path / "se.safetensors"
  save_file(named | {"layer1.0.se.fc1.weight": np.ones(3, np.float32)}, path)
  config = load_file(f"configs/finetune.py:weights={path},dir={photographs}")
  assert "it looks like an SE-ResNet" in checked(config)
