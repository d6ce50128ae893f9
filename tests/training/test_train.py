"""Runs as a user sees them: the command, killed and started again; what it leaves behind."""

import dataclasses
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import jax
import numpy as np
import pytest
from rich.console import Console

from resnet_jax import data
from resnet_jax.config import load_file
from resnet_jax.errors import Diverged, UserError
from resnet_jax.runs import metrics, progress, workdir
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import evaluation, train
from tests.many import python
from tests.warm import Command

NET = "configs/resnet.py:depth=8,digits"
SHORT = [
  f"--config.train.{key}={value}"
  for key, value in {
    "steps": 60,
    "log_every": 7,
    "eval_every": 20,
    "checkpoint_every": 10,
  }.items()
]
# A longer proof: KILLS=10 KILLED=configs/preact1001.py:digits
KILLS = int(os.environ.get("KILLS", 4))  # how often the run is killed
KILLED = os.environ.get("KILLED", NET)


def command(repository, workdir, *more, net=NET, out=None, **environment):
  flags = [f"--config={net}", f"--workdir={workdir}", *SHORT]
  return Command(
    "resnet_jax.main",
    *(*flags, *more),
    cwd=repository,
    env=os.environ | {"XLA_FLAGS": ""} | environment,
    out=out or tempfile.TemporaryFile(),
  )


def finish(process):
  output, _ = process.communicate(timeout=900)
  return process.returncode, output


def facts(workdir):
  return [{k: v for k, v in row.items() if k != "timing"} for row in metrics.read_rows(workdir)]


def final_state(folder: pathlib.Path):
  run = train.setup(workdir.read_config(folder))
  return Checkpoints(folder, print).restore(run.template)


def long(folder, request):
  return command(request.config.rootpath, folder, "--config.train.steps=400", net=KILLED)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, request):
  """The run that nobody kills."""
  folder = tmp_path_factory.mktemp("train") / "whole"
  assert finish(long(folder, request))[0] == 0
  return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_killed_and_started_again_ends_with_the_same_bits(
  tmp_path, repository, monkeypatch, request, whole, number, code
):
  monkeypatch.chdir(repository)
  cut = tmp_path / "cut"

  def start(folder):
    return long(folder, request)

  a_row = json.loads((whole / "result.json").read_text())["seconds"] / 77
  draw = random.Random(int(number))
  for rows in sorted(draw.sample(range(1, 60), KILLS)):  # of 77: never the last
    wanted = max(rows, len(metrics.read_rows(cut)) + 1)
    process = start(cut)
    while process.poll() is None and len(metrics.read_rows(cut)) < wanted:
      time.sleep(0.01)
    time.sleep(draw.uniform(0, a_row))
    process.send_signal(number)
    returned, output = finish(process)
    assert returned == code, output
    if number == signal.SIGKILL:  # and at its start, mostly before it takes a step
      rows, process, end = len(metrics.read_rows(cut)), start(cut), time.monotonic()
      end += draw.uniform(0, 3)
      while time.monotonic() < end and len(metrics.read_rows(cut)) == rows:
        time.sleep(0.01)
      process.kill()
      finish(process)
  assert finish(start(cut))[0] == 0
  assert facts(cut) == facts(whole)
  (one, at_one), (two, at_two) = final_state(cut), final_state(whole)
  jax.tree.map(np.testing.assert_array_equal, one, two)
  # Rows hold seconds too, and those since the last checkpoint are others after a kill. Memory is
  # that of the start which used most.
  measured = {"seconds": 0, "peak_memory_bytes": 0, "rows": []}
  assert at_one | measured == at_two | measured
  result = json.loads((cut / "result.json").read_text())
  assert result["status"] == "done"
  assert result["steps"] == 400


def tiny(**more):
  config = load_file(NET)
  config.train.update({"steps": 4, "log_every": 2, "eval_every": 2, "checkpoint_every": 2} | more)
  return config


@pytest.fixture(scope="module")
def made(tmp_path_factory, request):
  """The folder of a run of `tiny()`, of which tests take copies."""
  folder = tmp_path_factory.mktemp("tiny") / "run"
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(request.config.rootpath)
    train.train(tiny(), folder)
  return folder


@pytest.fixture
def finished(made, tmp_path, repository, monkeypatch):
  """A finished run of `tiny()` in `tmp_path / "run"`; returns its result."""
  monkeypatch.chdir(repository)
  shutil.copytree(made, tmp_path / "run")
  return json.loads((made / "result.json").read_text())


@pytest.mark.slow
def test_damaged_checkpoint_is_passed_over(tmp_path, finished, capsys):
  for file in (tmp_path / "run" / "checkpoints" / "4").rglob("*"):
    if file.is_file() and file.stat().st_size > 3000:
      content = bytearray(file.read_bytes())
      content[len(content) // 2] ^= 1
      file.write_bytes(content)
  again = train.train(tiny(), tmp_path / "run")
  assert "checkpoint 4 is damaged and passed over" in capsys.readouterr().out
  assert again["test_error"] == finished["test_error"]
  assert (tmp_path / "run" / "checkpoints_damaged" / "4.0").is_dir()


@pytest.mark.usefixtures("finished")
def test_a_run_without_a_whole_checkpoint_is_not_begun_again(tmp_path):
  for file in (tmp_path / "run" / "checkpoints").rglob("_METADATA"):
    file.write_text("")
  with pytest.raises(UserError, match="none of the checkpoints in .* can be restored"):
    train.train(tiny(), tmp_path / "run")
  assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["2", "4"]


@pytest.mark.slow
def test_rows_of_another_schedule_do_not_stay(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)

  def dropping(at):
    config = tiny()
    config.optim.schedule, config.optim.drop_at, config.optim.warmup = "step", at, 0
    return config

  train.train(dropping("4, 4"), tmp_path / "run")
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
  train.train(dropping("2, 3"), tmp_path / "run")
  train.train(dropping("2, 3"), tmp_path / "whole")
  assert facts(tmp_path / "run") == facts(tmp_path / "whole")
  assert len((tmp_path / "run" / "metrics.aside").read_text().splitlines()) == 2


@pytest.mark.slow
def test_resume_under_other_maths_is_refused(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = tiny()
  config.optim.warmup = "0 steps"
  train.train(config, tmp_path / "run")
  other = tiny()
  other.optim.weight_decay = 0.5
  with pytest.raises(UserError, match=r"optim.weight_decay: 0.002 -> 0.5"):
    train.train(other, tmp_path / "run")
  with pytest.raises(UserError, match="other learning rates"):
    config.train.steps = 6
    train.train(config, tmp_path / "run")


@pytest.mark.slow
def test_longer_run_goes_on(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)

  def constant(steps):
    config = tiny(steps=steps)
    config.optim.schedule = "constant"
    return config

  train.train(constant(4), tmp_path / "run")
  assert train.train(constant(6), tmp_path / "run")["steps"] == 6
  train.train(constant(6), tmp_path / "whole")
  assert facts(tmp_path / "run") == facts(tmp_path / "whole")


@pytest.mark.slow
def test_shorter_run_is_refused_and_nothing_written(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = tiny()
  config.optim.schedule = "constant"
  train.train(config, tmp_path / "run")
  kept = {p.name: p.read_bytes() for p in (tmp_path / "run").glob("*.json*")}
  config.train.steps = 2
  with pytest.raises(UserError, match="config.train.steps=2 is behind the run, .* at step 4"):
    train.train(config, tmp_path / "run")
  assert kept == {p.name: p.read_bytes() for p in (tmp_path / "run").glob("*.json*")}


@pytest.mark.usefixtures("finished")
def test_resume_on_other_data_is_refused(tmp_path, monkeypatch):
  load = data.load

  def other(config):
    return dataclasses.replace(load(config), fingerprint="0123456789abcdef")

  monkeypatch.setattr(data, "load", other)
  with pytest.raises(UserError, match="fingerprint 0123456789abcdef.* is not the one"):
    train.train(tiny(), tmp_path / "run")


def test_a_start_killed_at_once_does_not_spoil_the_folder(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / ".config.json.partial").write_text('{"se')
  assert train.train(tiny(), tmp_path / "run")["status"] == "done"


@pytest.mark.parametrize(
  "change", [{"optim.schedule": "linear"}, {"data.normalize": "max"}, {"optim.momentum": 1.0}]
)
def test_no_data_are_read_for_a_config_that_cannot_work(tmp_path, repository, monkeypatch, change):
  monkeypatch.chdir(repository)
  monkeypatch.setattr(data, "load", lambda config: pytest.fail("the data were read"))
  config = tiny()
  config.update_from_flattened_dict(change)
  with pytest.raises(UserError, match=next(iter(change))):
    train.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_divergence_is_told_and_nothing_saved(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = tiny(steps=200, eval_every=500, checkpoint_every=500)
  config.optim.learning_rate, config.optim.warmup = 1e30, "0 steps"
  with pytest.raises(
    Diverged, match=r"learning rate 9\.9.*e\+29; the last good checkpoint is none"
  ):
    train.train(config, tmp_path / "run")
  assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"
  assert not Checkpoints(tmp_path / "run", print).steps()


def test_divergence_in_evaluation_is_told_too(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  metrics_found = {"loss": float("inf"), "error": 90.0, "top5_error": 50.0}
  broken = evaluation.Evaluation(metrics_found, {}, examples=360, read=360)
  monkeypatch.setattr(evaluation, "evaluate", lambda *_: broken)
  with pytest.raises(Diverged, match="the loss is inf .* at step 2, learning rate"):
    train.train(tiny(), tmp_path / "run")
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert (result["status"], result["diverged_at"]) == ("diverged", 2)
  assert not Checkpoints(tmp_path / "run", print).steps()


def test_a_run_that_goes_on_says_that_it_is_running(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  found = []
  take = train.Loop.take

  def spy(loop, *given):
    found.append(json.loads((tmp_path / "run" / "result.json").read_text())["status"])
    take(loop, *given)

  monkeypatch.setattr(train.Loop, "take", spy)
  assert train.train(tiny(), tmp_path / "run")["status"] == "done"
  assert set(found) == {"running"}


@pytest.mark.slow
def test_bfloat16_keeps_parameters_and_statistics_in_float32(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = tiny(steps=30, eval_every=30)
  config.model.dtype = "bfloat16"
  train.train(config, tmp_path / "run")
  state, _ = final_state(tmp_path / "run")
  assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.batch_stats))} == {
    np.dtype(np.float32)
  }
  losses = [row["loss"] for row in metrics.read_rows(tmp_path / "run") if row["split"] == "train"]
  assert losses[-1] < losses[0]


@pytest.mark.slow
def test_output_that_nobody_takes_does_not_stop_a_run(tmp_path, repository):
  with open("/dev/full", "w") as full:
    process = command(repository, tmp_path / "full", out=full)
    process.wait(timeout=300)
  assert json.loads((tmp_path / "full" / "result.json").read_text())["status"] == "done"
  flags = [f"--config={NET}", f"--workdir={tmp_path / 'closed'}", *SHORT]
  environment = os.environ | {"XLA_FLAGS": ""}
  process = python("resnet_jax.main", *flags, env=environment, out=subprocess.PIPE)
  process.stdout.close()
  assert process.wait(timeout=300) == 0


def test_a_finished_run_started_again_keeps_its_result_and_says_so(tmp_path, finished, monkeypatch):
  terminal = Console(file=io.StringIO(), force_terminal=True, highlight=False, soft_wrap=True)
  monkeypatch.setattr(progress, "best_effort_console", lambda: terminal)
  assert train.train(tiny(), tmp_path / "run") == finished
  (said,) = terminal.file.getvalue().splitlines()  # and no bar
  assert said.startswith(f"done already: test error {finished['test_error']:.2f} %, best ")


@pytest.mark.slow
def test_full_disk_keeps_the_last_good_checkpoint(tmp_path, repository, monkeypatch):
  disk = tmp_path / "disk"
  disk.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(disk)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip("mounting a small tmpfs is not allowed here")
  try:
    monkeypatch.setenv("RESNET_JAX_DISK_PATIENCE", "2")
    cache = {"JAX_COMPILATION_CACHE_DIR": str(disk)}
    code, output = finish(command(repository, disk / "run", **cache))
    assert code == 1
    assert re.search(r"needed and .* free\): missing are the checkpoint of step 60", output)
    assert "Traceback" not in output
    assert Checkpoints(disk / "run", print).steps()
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
    code, output = finish(command(repository, disk / "run", **cache))
    assert code == 0, output
    assert "resuming at step" in output
  finally:
    subprocess.run(["umount", str(disk)], check=True)
