"""What the files of a run say of it."""

import json
import subprocess

import pytest

from resnet_jax import config as config_lib
from resnet_jax.runs import workdir
from resnet_jax.sweep import execute, plan, status
from resnet_jax.sweep.devices import Slot


@pytest.fixture
def run(tmp_path):
  """A run of 100 steps in an empty folder."""
  row = plan.PlannedRow("a", "", "a", {}, (0,))
  return plan.Plan("mine", "Mine", "", {}, (row,)).runs(tmp_path)[0]


def write_result(run, state, steps):
  config = config_lib.default_config()
  config.train.steps = "100 steps"
  run.workdir.mkdir(parents=True, exist_ok=True)
  result = {"status": state, "steps": steps, "config": config_lib.to_json(config)}
  result |= {"data": {"train_examples": 50000}, "test_error": 7.5}
  (run.workdir / "result.json").write_text(json.dumps(result))


def test_from_waiting_to_done(run):
  assert status.read(run) == status.Status("waiting")
  write_result(run, "running", 0)
  assert status.read(run)[:3] == ("waiting", 0, 100)
  row = json.dumps({"step": 40, "split": "train"})
  (run.workdir / "metrics.jsonl").write_text(row + "\n" + row.replace("40", "50"))  # cut short
  assert status.read(run)[:3] == ("stopped", 40, 100)
  with workdir.lock(run.workdir):
    assert status.read(run)[:3] == ("running", 40, 100)
  write_result(run, "done", 100)
  assert status.read(run)[:3] == ("done", 100, 100)
  with workdir.lock(run.workdir):  # started again, to be made longer
    assert status.read(run).state == "running"
  write_result(run, "diverged", 41)
  assert status.read(run)[:3] == ("diverged", 41, 100)


@pytest.mark.parametrize(
  ("code", "said", "reason"),
  [
    (1, "compiling ...\nerror: the disk is full\n", "the disk is full"),
    (1, "Traceback\nValueError: odd\n", "ValueError: odd"),
    (1, "", "exit code 1"),
    (-9, "step 3\n", "killed by SIGKILL"),
  ],
)
def test_a_run_that_failed_says_why(run, code, said, reason):
  run.log.parent.mkdir(parents=True)
  run.log.write_text(said)
  execute.settle(run, code)
  assert status.read(run)[::3] == ("failed", reason)


@pytest.mark.parametrize("code", [0, 75, -15])
def test_a_run_that_was_preempted_did_not_fail(run, code):
  execute.settle(run, code)
  assert status.read(run).state == "waiting"


def test_a_run_that_diverged_did_not_fail(run):
  write_result(run, "diverged", 41)
  execute.settle(run, 1)
  assert not run.failure.exists()


def test_a_start_forgets_the_failure(run, monkeypatch):
  execute.settle(plan_with_log(run), 1)
  monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: None)
  execute.start(run, Slot({}))
  assert status.read(run).state == "waiting"


def plan_with_log(run):
  run.log.parent.mkdir(parents=True)
  run.log.write_text("error: once\n")
  return run
