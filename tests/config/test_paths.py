"""`~` in a path is the user's home wherever a path is taken."""

import os
import subprocess
import sys

import pytest

from resnet_jax import api, config, data
from resnet_jax.config import paths
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics
from resnet_jax.training import finetune, train
from tests.data.photos import make as photos


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  return tmp_path


def test_a_path_at_home_is_written_out(home):
  assert paths.expand("~/run", "--workdir") == f"{home}/run"
  assert paths.expand("~", "--workdir") == str(home)
  for other in ("run", "", "./~/run", "runs/~x", "/a~"):
    assert paths.expand(other, "--workdir") == other
  with pytest.raises(UserError, match="--workdir=~nobody-here/run: no user has the home ~nobody"):
    paths.expand("~nobody-here/run", "--workdir")


def test_so_are_the_flags_of_a_command(home):
  given = ["main", "--workdir=~/run", "--ensemble=~/a,b,~/c", "--out", "~/d", "--seeds=2", "e~"]
  expected = [
    "main", f"--workdir={home}/run", f"--ensemble={home}/a,b,{home}/c", "--out", f"{home}/d",
    "--seeds=2", "e~",
  ]  # fmt: skip
  assert paths.expand_flags(given) == expected


COMMANDS = {
  "main --workdir": ["main", "--config=configs/resnet.py"],
  "main --config": ["main"],
  "main --predictions": ["main", "--mode=eval"],
  "main --ensemble": ["main", "--mode=eval"],
  "main --config.data.dir": ["main", "--config=configs/resnet.py"],
  "main --config.finetune.weights": ["main", "--config=configs/resnet.py"],
  "sweep --workdir": ["sweep", "--config=configs/sweeps/depth.py"],
  "report --workdir": ["report"],
  "report --out": ["report", "--workdir=runs"],
  "convert --workdir": ["convert", "--weights=a.pth"],
  "convert --weights": ["convert", "--workdir=a"],
  "convert --out": ["convert", "--workdir=a"],
  "classify --model": ["classify", "a.jpg"],
  "features --dir": ["features", "--model=a", "--out=b.npz"],
  "features --out": ["features", "--model=a", "--dir=b"],
  "features --model": ["features", "--dir=a", "--out=b.npz"],
}


def test_every_command_takes_such_paths(repository):
  """Each names a home that nobody has, which only a command that looks for homes refuses."""
  for names in (list(COMMANDS)[:8], list(COMMANDS)[8:]):
    running = {}
    for name in names:
      module, *flags = COMMANDS[name]
      flag = name.split()[1]
      running[name] = subprocess.Popen(
        [sys.executable, "-m", f"resnet_jax.{module}", *flags, f"{flag}=~nobody-here/x"],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    for name, process in running.items():
      said, _ = process.communicate(timeout=300)
      flag = name.split()[1]
      assert said.startswith(f"error: {flag}=~nobody-here/x: no user has the home"), (name, said)
      assert process.returncode == 1


def test_a_folder_of_photographs_at_home_is_found(home):
  for split in ("train", "val"):
    photos.folder(home / "photos", {"a": 2, "b": 2}, split)
  own = config.default_config()
  own.data.update({"name": "folder", "dir": "~/photos", "normalize": "imagenet"})
  assert data.info(own.data).classes == ("a", "b")
  assert data.load(own.data).train_examples == 4
  assert own.data.dir == "~/photos"


def test_weights_and_configs_at_home_are_found(home):
  metrics.write_json(home / "run" / "config.json", config.to_json(config.default_config()))
  assert finetune.source_config("~/run") == config.default_config()
  assert api.own_config("~/run") == config.default_config()
  text = "from resnet_jax.config import default_config\nget_config = default_config\n"
  (home / "mine.py").write_text(text)
  assert config.load_file("~/mine.py") == config.default_config()


def test_the_librarys_functions_take_such_paths(home):
  (home / "file").touch()
  with pytest.raises(UserError, match=f"{home}/file is a file; name a folder"):
    train.train(config.default_config(), "~/file")
  with pytest.raises(UserError, match="no user has the home ~nobody-here"):
    api.load("~nobody-here/run")
  with pytest.raises(UserError, match=f"--workdir={home}/none holds no run"):
    api.load_run("~/none")
  assert not os.path.exists("~")
