"""Runs that go on: whose a checkpoint is, rows that were torn, a config that is lost."""

import contextlib
import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest

from resnet_jax import api
from resnet_jax.config import load_file, to_json
from resnet_jax.distributed import processes
from resnet_jax.distributed.preemption import StopRequest
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, record, workdir
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import seeds, setup, train
from tests.data.photos import make as photos
from tests.training.test_train import facts

# In a position, which older versions did not save.
NEW = ("identity", "seed", "classes", "rows", "kernels")


def tiny(seed=0, **more):
  config = load_file("configs/resnet.py:depth=8,digits")
  config.seed = seed
  config.train.update({"steps": 8, "log_every": 2, "eval_every": 4, "checkpoint_every": 4} | more)
  return config


@pytest.fixture(autouse=True)
def at_home(repository, monkeypatch):
  monkeypatch.chdir(repository)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, request):
  """The folder of a run with checkpoints of steps 4 and 8."""
  folder = tmp_path_factory.mktemp("finished") / "run"
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(request.config.rootpath)
    train.train(tiny(), folder)
  return folder


@pytest.fixture
def run(finished, tmp_path):
  """A copy of it."""
  return shutil.copytree(finished, tmp_path / "run")


class Heard:
  """A progress that keeps what it is told."""

  def __init__(self):
    self.lines = []

  def message(self, text):
    self.lines.append(text)

  warn = phase = message

  def update(self, *_):
    pass


def taken_up(folder, config=None):
  """A start of the run up to its first step: the loop, and what was said."""
  config, heard = config or tiny(), Heard()
  with contextlib.ExitStack() as stack:
    old = train.enter(folder, config, stack)
    loop = train.Loop(setup.setup(config), folder, StopRequest(), heard, processes.Lookout())
    loop.restore(old and workdir.read_config(folder, config))
    loop.record.close()
  return loop, heard.lines


def rewritten(folder, step, change):
  """Saves a checkpoint again, with the position that `change` makes of its own."""
  template = setup.setup(tiny()).template
  checkpoints = Checkpoints(folder, print)
  state, position = checkpoints.restore(template, step)
  shutil.rmtree(folder / "checkpoints" / str(step))
  aside = {later: folder / f"later{later}" for later in checkpoints.steps() if later > step}
  for later, place in aside.items():  # Orbax saves only behind the last
    (folder / "checkpoints" / str(later)).rename(place)
  checkpoints.save(step, state, change(position))
  checkpoints.settle()
  checkpoints.close()
  for later, place in aside.items():
    place.rename(folder / "checkpoints" / str(later))


def older(folder):
  """Makes of both checkpoints what an older version would have saved."""
  for step in (4, 8):
    rewritten(folder, step, lambda saved: {k: saved[k] for k in saved if k not in NEW})


def of_another(seed=1, **settings):
  """What makes of a position that of another run."""
  return lambda saved: saved | record.whose(tiny(seed, **settings), saved["classes"])


def test_a_position_says_whose_it_is_and_holds_its_rows(finished):
  template = setup.setup(tiny()).template
  for step in (4, 8):
    position = Checkpoints(finished, print).restore(template, step)[1]
    assert position["identity"] == workdir.identity(tiny())
    assert position["seed"] == 0 and position["classes"] == list("0123456789")
    rows = metrics.read_rows(finished)
    assert position["rows"] == [row for row in rows if step - 4 < row["step"] <= step]


def test_a_checkpoint_of_another_run_is_not_evaluated(run, capsys):
  rewritten(run, 8, of_another())
  line = "checkpoint 8 is of another run (seed 1, here 0)"
  assert api.load_run(run).step == 4
  assert capsys.readouterr().out == f"warning: {line} and passed over\n"
  with pytest.raises(UserError, match=rf"no whole checkpoint '8': {re.escape(line)}; there are: 8"):
    api.load_run(run, 8)
  assert capsys.readouterr().out == ""
  other = tiny(log_every=1)  # what is given to an evaluation does not say whose the run is
  assert api.load_run(run, config=other).step == 4


def test_the_best_checkpoint_must_be_the_runs_too(run):
  best = json.loads((run / "result.json").read_text())["best_step"]
  rewritten(run, best, of_another())
  with pytest.raises(UserError, match=f"'best': checkpoint {best} is of another run .seed 1, here"):
    api.load_run(run, "best")


def test_a_resume_sets_a_checkpoint_of_another_run_aside(run):
  rewritten(run, 8, of_another(0, log_every=1))
  loop, said = taken_up(run)
  assert loop.position.step == 4
  assert "checkpoint 8 is of another run (its settings differ) and passed over" in said
  assert (run / "checkpoints_damaged" / "8.0").is_dir()


def test_a_run_left_with_checkpoints_of_others_alone_is_not_begun_again(run):
  for step in (4, 8):
    rewritten(run, step, of_another())
  with pytest.raises(UserError, match="none of the checkpoints in .* can be restored"):
    taken_up(run)
  with pytest.raises(UserError, match="no whole checkpoint 'last'; there are: 8, 4"):
    api.load_run(run)


def test_seeds_of_one_command_keep_to_their_own_checkpoints(run, tmp_path):
  shutil.copytree(run, tmp_path / "both" / "seed0")
  shutil.copytree(run, tmp_path / "both" / "seed1")
  config = to_json(tiny(1))
  metrics.write_json(tmp_path / "both" / "seed1" / "config.json", config)
  with pytest.raises(UserError, match="none of the checkpoints in .*seed1/checkpoints can be"):
    seeds.train_all(tiny(), tmp_path / "both", 2)


def test_what_a_resume_may_change_leaves_the_checkpoints_the_runs(run):
  config = tiny(checkpoint_every=2, eval_every=8)
  assert taken_up(run, config)[0].position.step == 8
  assert api.load_run(run).step == 8


def test_a_checkpoint_of_an_older_version_is_taken_with_one_line(run, monkeypatch, capsys):
  older(run)
  monkeypatch.setattr(workdir, "_said", set())
  for _ in range(2):
    assert api.load_run(run).step == 8
  line = "checkpoint 8 does not say which run it is of (an older version saved it); it is used"
  assert capsys.readouterr().out == f"warning: {line}\n"
  monkeypatch.setattr(workdir, "_said", set())
  loop, said = taken_up(run)
  assert said.count(line) == 1
  assert loop.position.identity == workdir.identity(tiny())
  assert loop.position.classes == list("0123456789") and loop.position.evaluated == 8


def torn(run, split, step):
  """Cuts metrics.jsonl within a row."""
  lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
  rows = [json.loads(line) for line in lines]
  number = next(i for i, r in enumerate(rows) if (r["split"], r["step"]) == (split, step))
  (run / "metrics.jsonl").write_bytes(b"".join(lines[:number]) + lines[number][:-9])


@pytest.mark.parametrize(("split", "step"), [("test", 8), ("train", 8), ("train", 6)])
def test_rows_torn_at_the_end_of_a_finished_run_are_written_back(run, finished, split, step):
  torn(run, split, step)
  assert len(facts(run)) < len(facts(finished))
  _, said = taken_up(run)
  assert metrics.read_rows(run) == metrics.read_rows(finished)
  assert not any("lost" in line for line in said)


def test_forty_bytes_off_the_end_of_a_finished_run(run, finished):
  (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes()[:-40])
  result = json.loads((run / "result.json").read_text())
  again = train.train(tiny(), run)
  assert {**again, "git_revision": ""} == {**result, "git_revision": ""}
  assert metrics.read_rows(run) == metrics.read_rows(finished)


def test_the_test_row_of_the_step_that_is_resumed_from_is_written_back(run, finished):
  shutil.rmtree(run / "checkpoints" / "8")
  torn(run, "test", 4)
  assert taken_up(run)[0].position.step == 4
  assert metrics.read_rows(run) == [r for r in metrics.read_rows(finished) if r["step"] <= 4]


def test_a_checkpoint_of_an_older_version_has_its_test_done_again(run, finished):
  older(run)
  torn(run, "test", 8)
  loop, said = taken_up(run)
  assert loop.position.evaluated == -1 and not any("lost" in line for line in said)
  train.train(tiny(), run)
  assert facts(run) == facts(finished)


def test_rows_that_nothing_holds_any_more_are_named(run):
  torn(run, "train", 4)  # that of step 2 stays
  line = "rows of metrics.jsonl are lost: train 4, test 4"
  assert line in taken_up(run)[1]
  assert [(row["step"], row["split"]) for row in metrics.read_rows(run)] == [
    (2, "train"),
    (6, "train"),
    (8, "train"),
    (8, "test"),
  ]
  older(run)
  torn(run, "train", 6)
  assert "rows of metrics.jsonl are lost: train 4, 6, 8, test 4" in taken_up(run)[1]


def test_a_lost_config_is_given_again(run, finished, capsys):
  (run / "config.json").unlink()
  for call in (api.load_run, api.load):
    with pytest.raises(UserError, match="its config.json is lost; train it or evaluate it"):
      call(run)
  assert api.load_run(run, config=tiny()).step == 8
  assert not (run / "config.json").exists() and capsys.readouterr().out == ""
  assert taken_up(run)[0].position.step == 8
  assert (run / "config.json").read_text() == (finished / "config.json").read_text()


def test_a_lost_config_is_not_replaced_by_another(run):
  (run / "config.json").unlink()
  with pytest.raises(UserError, match="no whole checkpoint 'last'"):
    api.load_run(run, config=tiny(1))
  with pytest.raises(UserError, match="none of the checkpoints in .* can be restored"):
    taken_up(run, tiny(1))
  assert not (run / "config.json").exists()


def test_an_older_run_whose_config_is_lost_is_taken_with_the_line(run, monkeypatch):
  older(run)
  (run / "config.json").unlink()
  monkeypatch.setattr(workdir, "_said", set())
  loop, said = taken_up(run)
  assert loop.position.step == 8
  assert sum("does not say which run it is of" in line for line in said) == 1


@pytest.fixture
def photographs(tmp_path):
  """A run on photographs that stands at step 2, its config and its folder of photographs."""
  for split in ("train", "val"):
    photos.folder(tmp_path / "photos", {"ant": 2, "bee": 2}, split)
  config, folder = tiny(), tmp_path / "photographs"
  config.data.update(name="folder", dir=str(tmp_path / "photos"), normalize="imagenet", pad=None)
  config.data.update(batch_size=8, image_size=32)
  begun = setup.setup(config)
  whose = record.whose(config, begun.dataset.info.classes)
  position = dataclasses.asdict(record.Position(2, data=begun.dataset.fingerprint, **whose))
  state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), begun.template)
  checkpoints = Checkpoints(folder, print)
  checkpoints.save(2, state, position)
  checkpoints.settle()
  checkpoints.close()
  metrics.write_json(folder / "config.json", to_json(config))
  known = {"shape": [32, 32, 3], "classes": ["ant", "bee"], "fingerprint": position["data"]}
  metrics.write_json(folder / "result.json", {"data": known})
  return folder, config, tmp_path / "photos"


def test_a_class_folder_that_is_new_is_named(photographs, capsys):
  folder, config, place = photographs
  assert taken_up(folder, config)[0].position.step == 2
  photos.folder(place, {"cow": 2}, "train")
  with pytest.raises(UserError, match="the class 'cow' is new in the folder here; restore config."):
    taken_up(folder, config)
  assert "damaged" not in capsys.readouterr().out
  assert [p.name for p in (folder / "checkpoints").iterdir()] == ["2"]


def test_a_class_folder_that_is_missing_is_named(photographs):
  folder, config, place = photographs
  for split in ("train", "val"):
    shutil.rmtree(place / split / "bee")
  with pytest.raises(UserError, match="the class 'bee' is missing in the folder here"):
    taken_up(folder, config)


def test_a_class_folder_that_is_renamed_is_named(photographs):
  folder, config, place = photographs
  for split in ("train", "val"):
    (place / split / "bee").rename(place / split / "wasp")
  with pytest.raises(UserError, match="the class 'wasp' is new, the class 'bee' is missing"):
    taken_up(folder, config)


def test_an_older_runs_classes_are_in_its_result(photographs):
  folder, config, place = photographs
  template = setup.setup(config).template
  state, position = Checkpoints(folder, print).restore(template)
  shutil.rmtree(folder / "checkpoints")
  checkpoints = Checkpoints(folder, print)
  checkpoints.save(2, state, {k: v for k, v in position.items() if k not in NEW})
  checkpoints.settle()
  checkpoints.close()
  photos.folder(place, {"cow": 2}, "train")
  with pytest.raises(UserError, match="the class 'cow' is new in the folder here"):
    taken_up(folder, config)


def test_a_folder_with_brackets_loses_no_checkpoint(run, finished, tmp_path):
  folder = tmp_path / "runs" / "lr[0.1]" / "a\\b"
  shutil.copytree(run, folder)
  shutil.rmtree(folder / "checkpoints" / "8")
  torn(folder, "test", 4)
  train.train(tiny(), folder)
  assert facts(folder) == facts(finished)
  assert [p.name for p in folder.parent.iterdir()] == ["a\\b"]
  assert api.load_run(folder).step == 8
  assert taken_up(folder)[0].position.step == 8
