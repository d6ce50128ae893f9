"""Several seeds in one program: each is the run that it would be alone."""

import json
import signal

import jax
import numpy as np
import pytest

from resnet_jax import api
from resnet_jax.config import load_file
from resnet_jax.errors import Diverged, UserError
from resnet_jax.runs import metrics
from resnet_jax.training import seeds, train
from tests.data.photos import make as photos
from tests.many import Processes

NET = "configs/resnet.py:depth=8,digits"


@pytest.fixture(autouse=True)
def at_home(repository, monkeypatch):
  monkeypatch.chdir(repository)


def tiny(**more):
  config = load_file(NET)
  config.train.update({"steps": 12, "log_every": 1, "eval_every": 6, "checkpoint_every": 6} | more)
  return config


def losses(folder):
  return {(row["step"], row["split"]): row["loss"] for row in metrics.read_rows(folder)}


def facts(folder):
  return [{k: v for k, v in row.items() if k != "timing"} for row in metrics.read_rows(folder)]


def result(folder):
  return json.loads((folder / "result.json").read_text())


def final(folder):
  state = api.restore(folder, "last", api.own_config(folder))[2]
  return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
def test_seeds_are_the_runs_that_each_would_be_alone(tmp_path):
  config = tiny()
  config.model.dtype = "float64"
  config.seed = 3
  found = seeds.train_all(config, tmp_path / "two", 2)
  for seed, got in zip((3, 4), found, strict=True):
    config.seed = seed
    train.train(config, tmp_path / "alone" / f"seed{seed}")
    alone, one_of_two = tmp_path / "alone" / f"seed{seed}", tmp_path / "two" / f"seed{seed}"
    assert losses(alone).keys() == losses(one_of_two).keys()
    np.testing.assert_allclose([*losses(one_of_two).values()], [*losses(alone).values()], rtol=1e-9)
    for a, b in zip(final(one_of_two), final(alone), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert result(one_of_two)["test_error"] == result(alone)["test_error"] == got["test_error"]
    assert result(one_of_two)["config"]["seed"] == seed


@pytest.mark.slow
def test_killed_and_stopped_seeds_end_with_the_same_bits(tmp_path):
  lengths = {"steps": 180, "log_every": 3, "eval_every": 30, "checkpoint_every": 10}

  def start(name):
    return Processes(
      1,
      tmp_path / f"{name}-logs",
      f"--config={NET}",
      f"--workdir={tmp_path / name}",
      "--seeds=2",
      *(f"--config.train.{key}={value}" for key, value in lengths.items()),
      devices=4,
    )

  whole = start("whole")
  assert whole.codes() == [0], whole.said()
  assert "2 seeds: test error" in whole.said()
  for number, code, rows in ((signal.SIGKILL, -9, 8), (signal.SIGTERM, 75, 20)):
    running = start("cut")
    assert running.until(lambda rows=rows: len(facts(tmp_path / "cut" / "seed1")) >= rows)
    running.all[0].send_signal(number)
    assert running.codes() == [code], running.said()
  assert start("cut").codes() == [0]
  for seed in ("seed0", "seed1"):
    assert facts(tmp_path / "cut" / seed) == facts(tmp_path / "whole" / seed)
    for a, b in zip(final(tmp_path / "cut" / seed), final(tmp_path / "whole" / seed), strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_one_that_diverges_leaves_the_others_alone(tmp_path, monkeypatch):
  advance = seeds.Together.advance

  def broken(self, states, counts):
    taken = advance(self, states, counts)
    state, measured = taken[1]
    taken[1] = state, measured | {"finite": measured["finite"] & (state.step < 4)}
    return taken

  monkeypatch.setattr(seeds.Together, "advance", broken)
  with pytest.raises(Diverged, match="not finite at step"):
    seeds.train_all(tiny(), tmp_path, 2)
  assert result(tmp_path / "seed0")["status"] == "done"
  assert result(tmp_path / "seed1")["status"] == "diverged"


@pytest.mark.slow
def test_one_whose_disk_is_full_leaves_the_others_alone(tmp_path, monkeypatch, capsys):
  measure = train.Loop.measure

  def full(loop):
    if loop.setup.config.seed == 0 and loop.position.step >= 4:
      raise OSError(28, "No space left on device")
    measure(loop)

  monkeypatch.setattr(train.Loop, "measure", full)
  with pytest.raises(OSError, match="No space left"):
    seeds.train_all(tiny(), tmp_path, 2)
  said = capsys.readouterr().out
  assert "seed 0: [Errno 28] No space left on device" in said
  assert "step 12/12" in said  # the second tells of the steps that the first has no part in
  assert result(tmp_path / "seed1")["status"] == "done"


@pytest.mark.slow
def test_seeds_need_not_stand_at_the_same_step(tmp_path):
  seeds.train_all(tiny(), tmp_path / "together", 2)
  train.train(tiny(), tmp_path / "run" / "seed0")
  before = (tmp_path / "run" / "seed0" / "metrics.jsonl").read_bytes()
  seeds.train_all(tiny(), tmp_path / "run", 2)
  assert (tmp_path / "run" / "seed0" / "metrics.jsonl").read_bytes() == before
  assert facts(tmp_path / "run" / "seed1") == facts(tmp_path / "together" / "seed1")


def test_devices_that_seeds_cannot_share_are_refused(tmp_path):
  with pytest.raises(UserError, match=r"--seeds=3: 8 devices cannot be shared equally by so many"):
    seeds.train_all(tiny(), tmp_path, 3)
  config = tiny()
  config.data.batch_size = 30
  with pytest.raises(UserError, match="batch_size=30 cannot be shared by 4 devices"):
    seeds.train_all(config, tmp_path, 2)
  assert not [*tmp_path.iterdir()]


def test_the_folder_of_a_run_is_refused(tmp_path):
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(UserError, match="holds a run; --seeds takes a folder for several"):
    seeds.train_all(tiny(), tmp_path, 2)


def test_photographs_are_refused(tmp_path):
  for split in ("train", "val"):
    photos.folder(tmp_path / "photos", {"a": 4, "b": 4}, split)
  config = load_file(f"configs/imagenet/miniature.py:dir={tmp_path / 'photos'}")
  config.data.batch_size = 8
  with pytest.raises(UserError, match="--seeds is for data that lie in memory"):
    seeds.train_all(config, tmp_path / "run", 2)
