"""The package as it is installed: what a wheel and an sdist hold, and that configs are found."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

BUILD = "import sys; from setuptools import build_meta as b; b.build_{kind}(sys.argv[1])"


def modules(repository):
  """The Python files of the package and of the configs, as a wheel names them."""
  ours = (repository / "resnet_jax").rglob("*.py")
  names = [str(path.relative_to(repository)) for path in ours]
  configs = (repository / "configs").rglob("*.py")
  return {*names, *(f"resnet_jax/{path.relative_to(repository)}" for path in configs)}


def test_no_package_is_forgotten(repository):
  settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]
  folders = {name.rpartition("/")[0].replace("/", ".") for name in modules(repository)}
  assert sorted(folders) == settings["packages"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """A wheel and an sdist, of a copy: building leaves files behind."""
  pytest.importorskip("setuptools", "77", "the wheel is built by setuptools 77 or newer")
  repository = pathlib.Path(__file__).parent.parent
  copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
  for path in repository.iterdir():
    if path.is_file() and path.suffix in ("", ".toml", ".txt", ".md", ".in", ".cff"):
      shutil.copy(path, copy / path.name)
  for name in ("resnet_jax", "configs", "tests", "launch"):
    shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
  for kind in ("sdist", "wheel"):
    done = subprocess.run(
      [sys.executable, "-c", BUILD.format(kind=kind), str(out)],
      cwd=copy,
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stderr
  return out


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_its_configs(built, repository):
  (wheel,) = built.glob("*.whl")
  names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
  data = {"py.typed", "data/imagenet_classes.txt"}
  data |= {f"native/{name}" for name in ("convolution.cc", "copies.h", "geometry.h", "vectors.h")}
  assert names == modules(repository) | {f"resnet_jax/{name}" for name in data}


@pytest.mark.slow
def test_an_sdist_holds_what_a_wheel_is_built_from(built, repository):
  (sdist,) = built.glob("*.tar.gz")
  with tarfile.open(sdist) as file:
    names = {name.partition("/")[2] for name in file.getnames()}
  theirs = {name.replace("resnet_jax/configs/", "configs/") for name in modules(repository)}
  about = {"pyproject.toml", "requirements.txt", "README.md", "LICENSE"}
  assert theirs | about <= names
  assert not [name for name in names if name.startswith(("tests", "launch"))]


@pytest.mark.slow
def test_an_installed_package_finds_its_configs_from_any_folder(built, tmp_path):
  (wheel,) = built.glob("*.whl")
  zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
  (tmp_path / "elsewhere").mkdir()
  done = subprocess.run(
    [sys.executable, "-m", "resnet_jax.main", "--mode=describe", "--json"]
    + ["--config=configs/resnet.py:depth=20,digits"],
    cwd=tmp_path / "elsewhere",
    env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout)["depth"] == 20
