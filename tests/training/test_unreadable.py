"""Test images that cannot be read: a part counts as errors, all of them are bad input."""

import dataclasses
import itertools
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from resnet_jax import evaluate
from resnet_jax.config import default_config
from resnet_jax.data.photos import sources
from resnet_jax.data.photos.views import VIEWS
from resnet_jax.distributed import processes
from resnet_jax.errors import Diverged, UserError
from resnet_jax.runs import metrics
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.tasks.classification import Scores
from resnet_jax.training import evaluation, feed, setup, steps, train
from tests.tasks.test_classification import scored


@pytest.fixture
def photographs(tmp_path):
  for split in ("train", "val"):
    for name in ("apple", "leaf"):
      (tmp_path / "photos" / split / name).mkdir(parents=True)
      for number in range(5):
        Image.new("RGB", (40, 32)).save(tmp_path / f"photos/{split}/{name}/{number}.png")
  return tmp_path / "photos"


def spoil(photographs, split="val", but=None):
  """Leaves files of the same sizes, so that they pass for the same data set."""
  for path in (photographs / split).rglob("*.png"):
    if path.name != but:
      path.write_bytes(bytes(path.stat().st_size))


def config_of(photographs):
  config = default_config()
  config.model.depth = 8
  config.data.update({"name": "folder", "dir": str(photographs), "normalize": "imagenet"})
  config.data.update({"test_split": "val", "image_size": 32, "workers": 0, "batch_size": 8})
  config.train.update({"steps": 4, "log_every": 1, "eval_every": 3, "checkpoint_every": 4})
  return config


def evaluated(config, view="single"):
  run = setup.setup(config)
  tally = evaluation.Tally(run.learner.task, run.dataset.test)
  warned = []
  tally.add(run.learner, {}, evaluation.groups(run, view, warned.append))
  return run, tally.evaluation(), warned


@pytest.fixture
def unsure(monkeypatch):
  """A network that finds all classes equally likely, and a step that changes nothing."""

  def unsure(learner, columns, variables, batch):
    return {"logits": np.zeros((len(batch.images), 2))}

  monkeypatch.setattr(evaluation, "_eval_step", unsure)
  measured = {"loss": np.float32(1), "error": np.int32(0), "finite": np.bool_(True)}

  def step(learner, state, batch):
    return (state.replace(step=state.step + 1), measured)

  monkeypatch.setattr(steps, "train_step", step)


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_that_can_be_read_is_an_error_with_the_images_named(photographs, view):
  spoil(photographs)
  run, found, warned = evaluated(config_of(photographs), view)
  assert len(warned) == 10
  with pytest.raises(UserError) as caught:
    evaluation.check_read(found, run)
  names = [str(photographs / "val" / "apple" / f"{number}.png") for number in range(3)]
  assert str(caught.value) == (
    f"config.data.test_split='val': none of its 10 images can be read ({', '.join(names)} and 7 "
    "more); restore them, or name where they are with config.data.dir"
  )


@pytest.mark.parametrize("view", VIEWS)
def test_a_part_that_cannot_be_read_counts_as_errors_and_not_in_the_loss(photographs, unsure, view):
  spoil(photographs, but="3.png")
  run, found, _ = evaluated(config_of(photographs), view)
  evaluation.check_read(found, run)
  assert found.kept["predictions"].tolist() == [-1, -1, -1, 0, -1] * 2
  assert (found.metrics["error"], found.metrics["loss"]) == (90.0, pytest.approx(math.log(2)))


@pytest.mark.parametrize("unread", [[0], [1], [0, 1]])
def test_a_process_may_find_nothing_that_it_can_read(monkeypatch, unread):
  """Of two, each of which tests every second example."""
  logits, sent = np.log([[0.9, 0.1], [0.5, 0.5]]), []
  monkeypatch.setattr(processes, "gather", lambda mine: sent.append(mine) or mine[None])
  for process in (0, 1):
    scores = Scores(4, 2)
    if process not in unread:
      scores.add({"logits": logits}, np.array([process, process + 2]), np.array([0, 1]))
    scores.gather()
  monkeypatch.setattr(processes, "gather", lambda _: np.stack(sent))
  predictions, found = scored(Scores(4, 2))
  if len(unread) == 1:
    loss = -np.log([0.9, 0.5]).mean()
    assert (found["error"], found["loss"]) == (75.0, pytest.approx(loss))
  assert (predictions >= 0).sum() == 4 - 2 * len(unread)


def test_records_that_cannot_be_read(photographs):
  class Broken(sources.Records):
    def __init__(self):
      self._place = "split test of some/1.0.0"

    def __len__(self):
      return 2

    def __getitem__(self, index):
      raise sources.Unreadable("damaged")

  run = setup.setup(config_of(photographs))
  run = run._replace(test=Broken(), dataset=dataclasses.replace(run.dataset, test=Broken()))
  tally = evaluation.Tally(run.learner.task, run.dataset.test)
  tally.add(run.learner, {}, evaluation.groups(run, warn=[].append))
  message = (
    r"none of its 2 images can be read \(example 0 of split test of some/1.0.0, example 1 of"
  )
  with pytest.raises(UserError, match=message):
    evaluation.check_read(tally.evaluation(), run)


def test_a_run_is_saved_and_goes_on_once_its_test_images_are_back(
  photographs, tmp_path, unsure, capsys
):
  shutil.copytree(photographs / "val", tmp_path / "kept")
  spoil(photographs)
  config, run = config_of(photographs), tmp_path / "run"
  with pytest.raises(UserError, match="none of its 10 images.*; step 3 is saved, run it again"):
    train.train(config, run)
  assert Checkpoints(run, print).steps() == [3]
  assert json.loads((run / "result.json").read_text())["status"] == "running"
  with pytest.raises(UserError, match="none of its 10 images can be read"):
    evaluate.evaluate(None, [run])
  assert "nan" not in capsys.readouterr().out
  shutil.rmtree(photographs / "val")
  (tmp_path / "kept").rename(photographs / "val")
  assert train.train(config, run)["status"] == "done"
  assert "resuming at step 3" in capsys.readouterr().out
  rows = [(row["step"], row["split"]) for row in metrics.read_rows(run)]
  assert sorted(rows) == sorted(
    [(step, "train") for step in (1, 2, 3, 4)] + [(step, "test") for step in (3, 4)]
  )


def test_what_is_not_finite_is_still_called_diverged(photographs, tmp_path, unsure, monkeypatch):
  spoil(photographs, but="3.png")

  def nothing(learner, columns, variables, batch):
    return {"logits": np.full((len(batch.images), 2), np.nan)}

  monkeypatch.setattr(evaluation, "_eval_step", nothing)
  with pytest.raises(Diverged, match="the loss is nan .* at step 3"):
    train.train(config_of(photographs), tmp_path / "run")


def test_training_images_that_cannot_be_read_are_named_as_such(photographs, tmp_path, unsure):
  spoil(photographs, "train")
  config = config_of(photographs)
  with pytest.raises(UserError, match="100 examples in a row cannot be read, beginning with"):
    train.train(config, tmp_path / "run")
  assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "running"


def test_training_images_that_go_away_leave_the_steps_before_saved(
  photographs, tmp_path, unsure, monkeypatch
):
  stream = feed.Streamed._stream

  def broken(own, first):
    yield from itertools.islice(stream(own, first), 3)
    raise UserError("100 examples in a row cannot be read")

  config, run = config_of(photographs), tmp_path / "run"
  config.train.update({"steps": 6, "eval_every": 6, "checkpoint_every": 6})
  monkeypatch.setattr(train, "DISPATCH_SECONDS", 1e9)  # 1, 1 and 4 steps are asked for
  with monkeypatch.context() as patch:
    patch.setattr(feed.Streamed, "_stream", broken)
    with pytest.raises(UserError, match="100 examples in a row .*; step 3 is saved, run it again"):
      train.train(config, run)
  assert Checkpoints(run, print).steps() == [3]
  assert train.train(config, run)["status"] == "done"
  rows = [row["step"] for row in metrics.read_rows(run) if row["split"] == "train"]
  assert rows == [1, 2, 3, 4, 5, 6]
