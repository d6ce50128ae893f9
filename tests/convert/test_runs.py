"""Weights become runs that the other commands take, and runs become weights again."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
import random_weights
from random_weights import net, saved, tensors
from safetensors.numpy import load_file, save_file

from resnet_jax import api, convert, data
from resnet_jax.config import leaves, to_json
from resnet_jax.convert import about, runs, transfer
from resnet_jax.distributed import mesh
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, workdir
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import setup, train
from tests.warm import Command


def command(*flags, cwd):
  process = Command("resnet_jax.convert", *flags, cwd=cwd)
  output, errors = process.communicate(timeout=300)
  assert "Traceback" not in errors
  errors = re.sub(r"^importing JAX and reading \S+ \.\.\.\n", "", errors)  # see test_cli.py
  return process.returncode, output, errors


@pytest.mark.slow
def test_import_and_export(tmp_path, repository):
  given = tensors(net(), classes=100)
  weights = saved(tmp_path / "net.safetensors", given)
  run, out = tmp_path / "run", tmp_path / "back.safetensors"
  code, output, errors = command(f"--weights={weights}", f"--workdir={run}", cwd=repository)
  assert code == 0, errors
  assert re.search(r"layer2.0.conv1.weight +stage2/unit1/conv1/kernel  3 x 3 x 16 x 32\n", output)
  assert "37 tensors used, 0 unused, 0 missing" in output
  assert "BN's running variances are unbiased there" in output
  result = json.loads((run / "result.json").read_text())
  assert (result["status"], result["source"]["file"]) == ("imported", "net.safetensors")
  assert len(result["source"]["sha256"]) == 64 and len(result["data"]["classes"]) == 100
  loaded, (_, variables, _) = api.load_run(run), convert.load_weights(weights)
  jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
  assert loaded.step == 0 and loaded.config.data.name == "cifar100"
  image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
  np.testing.assert_array_equal(loaded(image), api.load(weights)(image))
  code, output, errors = command(f"--workdir={run}", f"--out={out}", cwd=repository)
  assert code == 0, errors
  assert "of step 0; its images are normalized by imagenet" in output
  found = load_file(out)
  assert found.keys() == given.keys()
  for name in given:
    np.testing.assert_array_equal(found[name], given[name])


def test_an_import_under_brackets_is_there(tmp_path):
  weights = saved(tmp_path / "net.safetensors", tensors(net(), classes=100))
  config, variables, *_ = convert.load_weights(weights)
  folder = tmp_path / "lr[0.1]" / "run"
  runs.write(folder, weights, config, variables)
  loaded, position = api.load_run(folder), api.restore(folder, "last", config)[3]
  jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
  assert position["identity"] == workdir.identity(config)
  assert (position["seed"], position["classes"]) == (0, None)  # a file does not name them


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([], "give --weights=FILE to import, or --out=FILE.safetensors to export"),
    (["--weights=a.pth", "--out=b.safetensors"], "give --weights=FILE to import, or"),
    (["--weights=a.pth"], "--workdir is missing"),
    (["--weights=a.pth", "--workdir=w", "--checkpoint=3"], "--checkpoint belongs to --out"),
    (["--out=b.safetensors", "--workdir=w", "--padding=end"], "--padding belongs to --weights"),
    (["--out=b.safetensors", "--workdir=w", "--ema"], "--ema belongs to --weights"),
    (["a.pth"], "'a.pth' is not a flag; write --weights=a.pth"),
    (["--weights=a.pth", "--workdir=w"], "a.pth: there is no such file"),
    (["--weights=a.pth", "--workdir=w", "--config=b.py"], "--config='b.py': there is no file"),
    (["--out=b.pth", "--workdir=w"], "--out=b.pth: name a .safetensors file in a folder"),
    (["--out=b.safetensors", "--workdir=w"], "run holds no run"),
  ],
)
def test_flags_that_cannot_work(tmp_path, repository, flags, message):
  folder = tmp_path / "run"
  flags = [flag.replace("=w", f"={folder}") for flag in flags]
  code, output, errors = command(*flags, cwd=repository)
  assert (code, output) == (1, "") and errors.startswith("error: ")
  assert message in errors and errors.count("\n") == 1
  assert not folder.exists() and not (repository / "b.safetensors").exists()


def test_folders_that_are_not_new(tmp_path):
  (tmp_path / "file").touch()
  (tmp_path / "folder" / "photos").mkdir(parents=True)
  for folder, message in (
    (tmp_path / "folder", "is not empty and holds no run"),
    (tmp_path / "file", "a file"),
  ):
    with pytest.raises(UserError, match=message):
      runs.refuse_taken(folder)


def state(config, seed):
  """A state of random numbers for a run on the digits."""
  task, here = api.learner(config, data.info(config.data)), mesh.replicated(mesh.build())
  noise = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: jax.device_put(noise.uniform(0, 1, leaf.shape).astype(leaf.dtype), here),
    setup.template(task, (8, 8, 1), here),
  )


@pytest.fixture
def trained(tmp_path):
  """The folder of a run on the digits that stands at step 4; step 2 was its best."""
  config, folder = net(), tmp_path / "trained"
  config.data.name = "digits"
  checkpoints = Checkpoints(folder, print)
  for step in (2, 4):
    digits = data.load(config.data).fingerprint
    position = train.Position(step=step, best_step=2, data=digits)
    checkpoints.save(step, state(config, step), dataclasses.asdict(position))
  checkpoints.settle()
  checkpoints.close()
  metrics.write_json(folder / "config.json", to_json(config))
  return folder


def test_an_import_does_not_touch_a_run(trained):
  before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.suffix}
  with pytest.raises(UserError, match="holds a run; name a new folder"):
    runs.refuse_taken(trained)
  variables = api.restore(trained, "last", api.own_config(trained))[2].variables
  with pytest.raises(UserError, match="holds a run; name a new folder"):
    runs.write(trained, trained / "config.json", api.own_config(trained), variables)
  assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_trained_run_is_exported_without_its_data(trained, monkeypatch):
  monkeypatch.setattr(data, "load", None)
  config = api.own_config(trained)
  _, _, restored, position = api.restore(trained, "last", config)
  assert position["step"] == 4
  jax.tree.map(np.testing.assert_array_equal, restored.variables, state(config, 4).variables)
  exported, report = convert.tensors_of(config, restored.variables)
  assert exported["conv1.weight"].shape == (16, 1, 3, 3)
  assert report.used[0] == ("conv1.weight", "stem/conv/kernel", (3, 3, 1, 16))


def test_a_grey_net_comes_back_as_it_was(trained, tmp_path, capsys):
  """Through its file, and through a run made of that: no normalization is guessed."""
  out, run = tmp_path / "digits.safetensors", tmp_path / "again"
  transfer.take(trained, out, "last")
  images = data.load(api.own_config(trained).data).test.images[:4]
  expected = api.load_run(trained)(images)
  capsys.readouterr()
  loaded = api.load(out)
  assert capsys.readouterr().out == (
    "digits.safetensors: CIFAR net of 8 layers, basic units, projection A, normalized by "
    "pixel_mean; 37 tensors used, 0 unused\n"
  )
  np.testing.assert_array_equal(loaded(images), expected)
  transfer.bring(out, run, None)
  np.testing.assert_array_equal(api.load_run(run)(images), expected)
  assert api.own_config(run).data.name == "digits"
  mnist = net()
  mnist.data.name = "mnist"
  with pytest.raises(
    UserError, match="normalized by pixel_mean of digits, .*'mnist' does not give"
  ):
    convert.load_weights(out, mnist)


def test_an_exported_file_tells_what_no_tensor_does(tmp_path):
  """Where the net strides, BN's epsilon, and by what images are normalized."""
  config = net(depth=14, projection="B")
  config.model.norm.epsilon, config.data.name = 1e-3, "svhn_cropped"
  config.data.normalize = "0.4,0.4,0.4/0.2,0.2,0.2"
  path = tmp_path / "net.safetensors"
  save_file(tensors(config, "shortcut"), path, about.write(config, "of svhn"))
  found, _, report = convert.load_weights(path)
  for key in about.TOLD:
    assert leaves(found)[key] == leaves(config)[key], key
  assert (report.notes, report.fingerprint) == ((), "")
  assert convert.load_weights(path, config)[0].model == config.model
  config.model.norm.epsilon = 1e-5
  with pytest.raises(
    UserError, match="exported from a net with model.norm.epsilon=0.001; config.m"
  ):
    convert.load_weights(path, config)
  photographic = net(family="imagenet", depth=50, unit="bottleneck", stride_on="1x1")
  told = json.loads(about.write(photographic, "")["resnet_jax"])
  assert (told["model.stride_on"], told["data.name"]) == ("1x1", "folder")


def test_a_preactivation_net_is_not_exported(tmp_path, repository):
  metrics.write_json(tmp_path / "config.json", to_json(net(after_add="full_preact")))
  out = tmp_path / "net.safetensors"
  code, output, errors = command(f"--workdir={tmp_path}", f"--out={out}", cwd=repository)
  assert (code, output, errors.count("\n")) == (1, "", 1)
  assert "config.model.after_add='full_preact': others have names for the layers of" in errors
  assert not list(tmp_path.glob("*safetensors*"))


def test_the_classes_of_a_folder_of_photographs(tmp_path):
  """They are asked for where the config names the folder."""
  from PIL import Image

  for label in ("cat", "dog"):
    for split in ("train", "val"):
      (tmp_path / split / label).mkdir(parents=True)
      Image.new("RGB", (40, 40)).save(tmp_path / split / label / "1.png")
  config = net(family="imagenet", depth=18)
  path = saved(tmp_path / "net.safetensors", random_weights.tensors(config, classes=5))
  _, variables, _ = convert.load_weights(path, config)
  assert variables["params"]["classifier"]["bias"].shape == (5,)
  config.data.dir, config.data.test_split = str(tmp_path), "val"
  with pytest.raises(
    UserError, match="the file tells 5 classes apart, config.data.name='folder' 2"
  ):
    convert.load_weights(path, config)
