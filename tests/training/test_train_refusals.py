"""What a run refuses before it begins, in one line."""

import shutil

import pytest

from resnet_jax.errors import UserError
from resnet_jax.runs import workdir
from resnet_jax.training import seeds, train
from tests.training.test_train import command, facts, finish, tiny


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--config.model.dept=20"], "did you mean config.model.depth?"),
    (["--config.optim.learningrate=1"], "did you mean config.optim.learning_rate?"),
    (["--config.model.depth=deep"], "deep"),
    (["--config.model.depth=21"], "the nearest: 20 and 26"),
    (["--config.model.shortcut=identiti"], "did you mean 'identity'?"),
    (["--config.model.shortcut=none", "--config.model.after_add=bn_after_add"], "no sense"),
    (["--config.model.gate_bias=-3"], "does nothing with shortcut=identity"),
    (["--config.data.name=cifar11"], "did you mean 'cifar10"),
    (["--config.data.train_split=training"], "train"),
    (["--config.train.steps=many"], "is no duration"),
    (["config.seed=3"], "is not a flag"),
    (["--config.data.batch_size=0"], "must be above 0"),
    (["--config.model.norm.group_size=5"], "must divide"),
    (["--config.data.batch_size=2000000"], "must be below 2**31"),
    (["--config.train.steps=5000000000"], "must be below 2**31 steps"),
    (["--config.optim.warmup_learning_rate=-1"], "must be 0 or more"),
  ],
)
def test_bad_input_gets_one_line(tmp_path, repository, flags, message):
  code, output = finish(command(repository, tmp_path / "run", *flags))
  assert code == 1, output
  lines = [line for line in output.splitlines() if line.startswith("error:")]
  assert len(lines) == 1, output
  assert message in lines[0]
  assert "Traceback" not in output
  assert not (tmp_path / "run" / "config.json").exists()


def test_foreign_workdir_is_refused(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  (tmp_path / "thesis").mkdir()
  with pytest.raises(UserError, match="is not empty and holds no run"):
    train.train(tiny(), tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="file/run cannot be written: Not a directory"):
    train.train(tiny(), tmp_path / "file" / "run")


def test_a_second_run_in_one_workdir_is_refused(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  with workdir.lock(tmp_path / "run"), pytest.raises(UserError, match="in use by another run"):
    train.train(tiny(), tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"optim.drop_at": "2"}, "drop_at='2' does nothing with config.optim.schedule='cosine'"),
    ({"model.stride_on": "3x3"}, "config.model.stride_on='3x3' does nothing"),
    ({"data.dir": "/data"}, "config.data.dir='/data' does nothing"),
    ({"data.batch_size": 5000}, "batch_size=5000 is more than the 1437 examples"),
    ({"optim.schedule": "step", "optim.drop_at": "5"}, "after the end of the run: step 5 of 4"),
  ],
)
def test_what_does_nothing_is_refused_in_a_new_run(
  tmp_path, repository, monkeypatch, change, message
):
  monkeypatch.chdir(repository)
  config = tiny()
  config.update_from_flattened_dict(change)
  with pytest.raises(UserError, match=message):
    train.train(config, tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()
  with pytest.raises(UserError, match=message):
    seeds.train_all(config, tmp_path / "seeds", 2)


@pytest.mark.slow
def test_a_run_that_has_begun_goes_on_with_what_does_nothing(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = tiny()
  config.model.stride_on, config.data.dir, config.optim.drop_at = "3x3", "/data", "9"
  with monkeypatch.context() as before:
    before.setattr(workdir, "begins", lambda *_: False)  # as the version before had it
    first = train.train(config, tmp_path / "run")
  rows = facts(tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
  config.optim.drop_at = tiny().optim.drop_at  # as a recipe that no longer sets it
  assert train.train(config, tmp_path / "run")["test_error"] == first["test_error"]
  assert facts(tmp_path / "run") == rows
  assert not (tmp_path / "run" / "metrics.aside").exists()


def test_batch_that_devices_cannot_share(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = tiny()
  config.data.batch_size = 30
  with pytest.raises(UserError, match="cannot be shared by 8 devices; the nearest: 24 and 32"):
    train.train(config, tmp_path / "run")
