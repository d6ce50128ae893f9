"""What a person may name for the folders of sweeps."""

import os
import pathlib
import re

import pytest

from resnet_jax.errors import UserError
from resnet_jax.report import folders


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
  """Three sweeps, a run, a folder of neither and a file, below the current folder."""
  for name in ("runs/b", "runs/a", "runs/deep/c", "one[1]"):
    (tmp_path / name / "row" / "seed0").mkdir(parents=True)
    (tmp_path / name / "sweep.json").touch()
  for name in ("runs/alone", "runs/empty", "runs/.trash"):
    (tmp_path / name).mkdir()
  (tmp_path / "runs" / "alone" / "config.json").touch()
  (tmp_path / "runs" / "alone" / "sweep").mkdir()
  (tmp_path / "runs" / "alone" / "sweep" / "sweep.json").touch()
  (tmp_path / "runs" / ".trash" / "sweep.json").touch()
  (tmp_path / "letter.txt").touch()
  monkeypatch.chdir(tmp_path)
  return tmp_path / "runs"


@pytest.mark.parametrize(
  ("named", "found"),
  [
    (["runs/b"], ["runs/b"]),
    (["runs/b", "runs/a"], ["runs/b", "runs/a"]),  # in that order
    (["runs"], ["runs/a", "runs/b", "runs/deep/c"]),
    (["."], ["one[1]", "runs/a", "runs/b", "runs/deep/c"]),
    (["runs/*"], ["runs/a", "runs/b", "runs/deep/c"]),
    (["run?/?"], ["runs/a", "runs/b"]),
    (["runs/deep", "runs"], ["runs/deep/c", "runs/a", "runs/b"]),  # each once
    (["./runs/a", "runs/a"], ["runs/a"]),
    (["one[1]"], ["one[1]"]),
    (["one[1]*"], ["one[1]"]),
    (["~/runs/b"], ["{}/runs/b"]),
  ],
)
def test_names_and_their_sweeps(named, found, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert [str(path) for path in folders.find(named)] == [name.format(tmp_path) for name in found]


def test_a_star_in_a_name_that_is_there_is_a_star(runs):
  (runs / "*").mkdir()
  (runs / "*" / "sweep.json").touch()
  assert folders.find(["runs/*"]) == [pathlib.Path("runs/*")]


def test_links_are_followed_but_not_in_circles(runs):
  os.symlink(runs / "a", runs / "empty" / "linked")
  os.symlink(runs, runs / "empty" / "circle")
  os.symlink(runs / "nowhere", runs / "empty" / "dangling")
  assert len(folders.find(["runs"])) == 3
  assert folders.find(["runs/empty"])[0] == pathlib.Path("runs/empty/circle/a")


@pytest.mark.parametrize(
  ("name", "reason"),
  [
    ("nowhere", "there is no such folder"),
    ("runs/x*", "there is no such folder that holds one"),
    ("runs/e*", "there is no such folder that holds one"),
    ("runs/empty", "there is no sweep.json in it or below it"),
    ("runs/alone", "it is a single run; name the folder of a sweep or one above several"),
    ("letter.txt", "it is a file; name the folder of a sweep or one above several"),
  ],
)
def test_names_that_stand_for_no_sweep(name, reason):
  with pytest.raises(
    UserError, match=re.escape(f"--workdir={name} holds no sweep: {reason}") + "$"
  ):
    folders.find(["runs", name])
