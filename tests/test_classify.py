"""Photographs through nets from elsewhere: the classes printed, the features written."""

import os
import re

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from resnet_jax import api, convert, models
from resnet_jax.config import default_config
from resnet_jax.data import imagenet
from tests.warm import Command

NAMELESS = os.fsdecode(b"caf\xe9" + "\u0394.JPG".encode())  # no text in any encoding
PATHS = ["b.png", "below/c.webp", NAMELESS, "linked/album.jpg/d.bmp"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """A ResNet-14 for CIFAR-10 that has not been trained."""
  config = default_config()
  config.model.depth = 14
  model = models.build(config.model, 10)
  variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3)))
  path = tmp_path_factory.mktemp("weights") / "net.safetensors"
  save_file(convert.tensors_of(config, variables)[0], path)
  return path


@pytest.fixture(scope="module")
def backbone(weights):
  """The same net without its classifier."""
  path = weights.parent / "backbone.bin"
  kept = {name: value for name, value in load_file(weights).items() if "linear" not in name}
  save_file(kept, path)
  return path


def said(path, used=67):
  """What every command says of a weights file first."""
  return (
    f"{path.name}: CIFAR net of 14 layers, basic units, projection A, normalized by imagenet; "
    f"{used} tensors used, 0 unused; assumed: the normalization (convert --normalize) and zeros "
    "padded on both sides (convert --padding)"
  )


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
  root = tmp_path_factory.mktemp("photographs")
  random = np.random.default_rng(0)
  (root / "below").mkdir()
  for name, size in {"b.png": (40, 50), NAMELESS: (60, 33), "below/c.webp": (32, 32)}.items():
    Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(root / name)
  (root / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
  (root / "notes.txt").write_text("no photograph")
  linked = tmp_path_factory.mktemp("linked") / "album.jpg"
  linked.mkdir()
  Image.new("RGB", (35, 40)).save(linked / "d.bmp")
  (root / "linked").symlink_to(linked.parent)
  return root


def command(module, *flags, cwd):
  process = Command(
    f"resnet_jax.{module}", *flags, cwd=cwd, env=os.environ | {"PYTHONIOENCODING": "ascii"}
  )
  output, errors = process.communicate(timeout=300)
  assert "Traceback" not in errors
  errors = re.sub(r"^importing JAX and reading \S+ \.\.\.\n", "", errors)  # see test_cli.py
  return process.returncode, output, errors


@pytest.mark.slow
def test_the_five_likeliest(weights, photographs, repository):
  files = [photographs / name for name in ("b.png", "broken.jpg", "absent.jpg", NAMELESS)]
  code, out, errors = command("classify", f"--model={weights}", *files, cwd=repository)
  assert code == 1
  assert errors.splitlines() == [
    f"{files[1]}: the JPEG breaks off before its pixels",
    f"{files[2]}: No such file or directory",
  ]
  first, *lines = out.splitlines()
  assert first == said(weights)
  escaped = str(files[3]).encode("ascii", "backslashreplace").decode()
  assert escaped.endswith(r"caf\udce9\u0394.JPG")  # neither UTF-8 nor ASCII
  assert [line for line in lines if not line.startswith(" ")] == [str(files[0]), escaped]
  run = api.load(weights)
  for first, path in ((0, files[0]), (6, files[3])):
    logits = np.asarray(run(run.read(path)[None]), np.float64)[0]
    shares = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-shares)[:5]
    assert [line.split("%")[1].strip() for line in lines[first + 1 : first + 6]] == [
      run.info.classes[index] for index in order
    ]
    assert float(lines[first + 1].split("%")[0]) == pytest.approx(100 * shares.max(), abs=0.006)


def test_classes_have_names():
  assert len(imagenet.names()) == 1000
  assert list(imagenet.names()) == sorted(imagenet.names())
  assert imagenet.readable("n01440764") == "tench (n01440764)"
  assert imagenet.readable("mine") == "mine"


@pytest.mark.parametrize(("stage", "shape"), [("stage2", (32,)), ("", (64,)), ("stem", (16,))])
def test_features(weights, backbone, photographs, repository, tmp_path, stage, shape):
  out = tmp_path / "features.npz"
  model = weights if stage else backbone
  flags = [f"--model={model}", f"--dir={photographs}", f"--out={out}", f"--stage={stage}"]
  code, text, errors = command("features", *flags, cwd=repository)
  assert code == 0, errors
  assert errors == (
    f"{photographs}: 1 file was left out: .txt 1; "
    "endings that are read: .jpg .jpeg .png .webp .gif .bmp\n"
    "broken.jpg: the JPEG breaks off before its pixels\n"
  )
  assert text.splitlines() == [
    said(model, 67 if stage else 65),
    f"{out}: {stage or 'stage3'} of 4 photographs, {shape[0]}",
  ]
  found = np.load(out)
  assert found["paths"].tolist() == PATHS
  assert found["features"].shape == (4, *shape)
  assert found["features"].dtype == np.float32


def test_the_last_features_are_what_the_classifier_sees(weights, photographs, repository, tmp_path):
  out = tmp_path / "features.npz"
  flags = [f"--model={weights}", f"--dir={photographs}", f"--out={out}", "--maps"]
  assert command("features", *flags, cwd=repository)[0] == 0
  run, maps = api.load(weights), np.load(out)["features"]
  assert maps.shape == (4, 8, 8, 64)
  classifier = run.variables["params"]["classifier"]
  logits = maps.mean((1, 2)) @ classifier["kernel"] + classifier["bias"]
  expected = run(np.stack([run.read(photographs / name) for name in ("b.png", "below/c.webp")]))
  np.testing.assert_allclose(logits[:2], expected, rtol=1e-4, atol=1e-4)


def test_parquet(weights, photographs, repository, tmp_path):
  parquet = pytest.importorskip("pyarrow.parquet")
  out = tmp_path / "features.parquet"
  flags = [f"--model={weights}", f"--dir={photographs}", f"--out={out}"]
  assert command("features", *flags, cwd=repository)[0] == 0
  table = parquet.read_table(out)
  escaped = [path.replace(NAMELESS, "caf\\xe9\u0394.JPG") for path in PATHS]
  assert table["path"].to_pylist() == escaped
  assert np.asarray(table["features"].to_pylist()).shape == (4, 64)


@pytest.mark.parametrize(
  ("module", "flags", "message"),
  [
    ("classify", ["photo.jpg"], "--model is missing: name a run's folder or a weights file"),
    ("classify", ["--model=x"], "no photograph is named"),
    ("classify", ["--model=no/such", "a.jpg"], "is neither a run's folder nor a weights file"),
    ("classify", ["--model={backbone}", "a.jpg"], "the weights hold no classifier and give no"),
    ("features", ["--model=x", "--dir=d"], "--out is missing"),
    ("features", ["--model=x", "--dir=d", "--out=f.csv"], "choose from .npz, .parquet"),
    ("features", ["--model=x", "--dir=d", "--out=f.parquet", "--maps"], "--maps needs --out=...."),
    ("features", ["--model=x", "--dir=d", "--out=no/such/f.npz"], "there is no folder no/such"),
    ("features", ["--model={}", "--dir=d", "--out={}.npz", "--stage=9"], "--stage='9' is unknown"),
    ("features", ["--model={}", "--dir=/nowhere", "--out={}.npz"], "--dir=/nowhere holds no photo"),
  ],
)
def test_bad_input_is_one_line(weights, backbone, repository, module, flags, message):
  named = [flag.format(weights, backbone=backbone) for flag in flags]
  code, _, errors = command(module, *named, cwd=repository)
  assert code == 1
  assert errors.startswith("error: ") and errors.count("\n") == 1
  assert message in errors
