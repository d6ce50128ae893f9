"""Where config files are found, and what `configs` is in them: checkout, wheel, elsewhere."""

import pathlib
import re
import shutil
import sys

import pytest

from resnet_jax import main
from resnet_jax.config import files, load_file
from resnet_jax.errors import UserError
from resnet_jax.sweep import plan as plan_lib

NET = "configs/resnet.py:depth=20,digits"
MINE = "from configs import {0}\ndef get_config():\n  return {0}.VALUE\n"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """A current folder without configs."""
  folder = tmp_path / "elsewhere"
  folder.mkdir()
  monkeypatch.chdir(folder)
  monkeypatch.setattr(sys, "path", [""])  # of a command; pytest adds the checkout
  return folder


@pytest.fixture
def wheel(tmp_path, repository, monkeypatch):
  """The package as a wheel has it; returns its configs."""
  package = tmp_path / "site-packages" / "resnet_jax"
  shutil.copytree(repository / "configs", package / "configs")
  monkeypatch.setattr(files, "PACKAGE", package)
  return package / "configs"


def write(path: pathlib.Path, text: str) -> str:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  return str(path)


def test_in_a_checkout_they_are_its_own(repository):
  assert files.packaged() == repository / "configs"


def test_the_current_folder_comes_first_then_the_package(elsewhere, wheel):
  assert files.find("configs/resnet.py") == wheel / "resnet.py"
  assert files.find("./configs/sweeps/depth.py") == wheel / "sweeps" / "depth.py"
  write(elsewhere / "configs" / "resnet.py", "")
  assert files.find("configs/resnet.py") == pathlib.Path("configs/resnet.py")


def test_a_path_at_home(elsewhere, monkeypatch):
  write(elsewhere / "mine.py", "")
  monkeypatch.setenv("HOME", str(elsewhere))
  assert files.find("~/mine.py") == elsewhere / "mine.py"


@pytest.mark.parametrize(
  ("path", "searched"),
  [
    ("configs/nowhere.py", " in {here}, and no {packaged}/nowhere.py; arguments"),
    ("nowhere.py", " in {here}; arguments follow a colon"),
    ("/nowhere.py", "; arguments follow a colon"),
    ("configs", " in {here}, and no {packaged}; arguments"),
    ("", " in {here}; arguments"),
  ],
)
def test_a_file_that_is_not_there(elsewhere, wheel, path, searched):
  message = f"there is no file {path!r}" + searched.format(here=elsewhere, packaged=wheel)
  with pytest.raises(UserError, match=re.escape(message)):
    files.find(path)


@pytest.mark.parametrize("place", ["checkout", "wheel"])
def test_every_reader_of_configs_finds_them_from_elsewhere(request, elsewhere, place):
  if place == "wheel":
    request.getfixturevalue("wheel")
  assert load_file(NET).model.depth == 20
  assert main._ConfigFile().parse(NET).model.depth == 20
  plan = plan_lib.read("configs/sweeps/shortcuts.py:digits", {})
  assert plan.config(plan.runs(elsewhere)[0]).model.depth == 110  # the base, too
  assert load_file("configs/imagenet/resnet50.py:torch,folder").model.depth == 50
  assert not [entry for entry in sys.path if entry.endswith("resnet_jax")]  # hides no module


def test_a_config_of_the_package_is_not_misled_by_a_folder_of_the_same_name(elsewhere, wheel):
  write(elsewhere / "configs" / "common.py", "VALUE = 'mine'")
  assert load_file(NET).model.depth == 20
  assert load_file(write(elsewhere / "configs" / "a.py", MINE.format("common"))) == "mine"
  assert load_file(write(elsewhere / "b.py", MINE.format("common"))) == "mine"


def test_what_a_folder_of_ones_own_lacks_is_the_packages(elsewhere, wheel):
  text = "from configs import common, other\ndef get_config():\n  return other.VALUE, common.digits"
  write(elsewhere / "configs" / "other.py", "VALUE = 1")
  value, digits = load_file(write(elsewhere / "configs" / "a.py", text))
  assert (value, digits.__name__) == (1, "digits")


def test_a_package_of_ones_own_is_run_and_what_lies_beside_it_is_found(elsewhere, wheel, tmp_path):
  project = tmp_path / "project"
  write(project / "configs" / "__init__.py", "import beside\nVALUE = beside.VALUE")
  write(project / "beside.py", "VALUE = 7")
  text = "import configs\ndef get_config():\n  return configs.VALUE"
  assert load_file(write(project / "configs" / "a.py", text)) == 7


@pytest.mark.parametrize("text", ["def get_config(): return 1", "1 / 0"])
def test_what_the_name_meant_before_it_means_again(elsewhere, wheel, monkeypatch, text):
  ours = type(sys)("configs"), type(sys)("configs.common")
  for module in ours:
    monkeypatch.setitem(sys.modules, module.__name__, module)
  path = write(elsewhere / "a.py", "from configs.common import digits\n" + text)
  try:
    load_file(path)
  except ZeroDivisionError:
    assert text == "1 / 0"
  assert (sys.modules["configs"], sys.modules["configs.common"]) == ours
