"""The SLURM engine against a real SLURM, such as .ci/slurm.sh makes of one host."""

import json
import re
import sys

import pytest

from resnet_jax.errors import UserError
from resnet_jax.runs import metrics
from resnet_jax.sweep import plan, slurm, status
from tests.cluster import ask, in_queue, preempt, restarts, until
from tests.warm import Command

TINY = {"train.log_every": 7, "train.eval_every": 20, "train.checkpoint_every": 10}
GIVEN = slurm.parameters("partition=normal,timeout_min=10,cpus_per_task=1")


def sweep(folder, rows=1, seeds=1, **more):
  named = [plan.PlannedRow(f"row{n}", "", f"row{n}", {}, tuple(range(seeds))) for n in range(rows)]
  base = "configs/resnet.py:depth=8,digits"
  return plan.Plan("sweep", "sweep", base, {**TINY, **more}, tuple(named)).runs(folder)


def rows(run):
  return metrics.read_rows(run.workdir)


def facts(run):
  return [{k: v for k, v in row.items() if k != "timing"} for row in rows(run)]


def result(run):
  found = json.loads((run.workdir / "result.json").read_text())
  # The revision is not of the run: somebody may commit while the tests go on.
  return {k: found[k] for k in found.keys() - {"seconds", "peak_memory_bytes", "git_revision"}}


def log(run):
  return run.log.read_text() if run.log.exists() else ""


@pytest.mark.slow
def test_an_array_that_slurm_preempts_ends_as_runs_at_home(tmp_path, cluster, capsys):
  runs = sweep(tmp_path / "sweep", rows=2, seeds=2, **{"train.steps": 600})
  job = slurm.submit(runs, tmp_path / "sweep", GIVEN, 2)
  said = capsys.readouterr().out
  assert f"4 runs are submitted as job {job}\n" in said
  assert f"scancel {job}" in said
  until(lambda: len(rows(runs[0])) > 4)
  assert len(ask("squeue", "--states=running", "--noheader").splitlines()) <= 2  # --jobs
  preempt()
  until(lambda: all(status.read(run).state == "done" for run in runs))
  assert re.search(r"stopped by SIG\w+ at step \d+; run it again", log(runs[0]))
  assert "resuming at step" in log(runs[0])
  assert not [run.failure for run in runs if run.failure.exists()]
  home = sweep(tmp_path / "home", rows=2, seeds=2, **{"train.steps": 600})
  processes = [Command(*here.command[1:]) for here in home]
  assert [process.wait(600) for process in processes] == [0] * 4
  for there, here in zip(runs, home, strict=True):
    assert facts(there) == facts(here)
    assert result(there) == result(here)


@pytest.mark.slow
@pytest.mark.parametrize("told", ["time limit", "grace time"])
def test_a_run_that_is_told_to_stop_is_requeued_until_cancelled(tmp_path, cluster, told):
  (run,) = sweep(tmp_path, **{"train.steps": 100_000})
  # SLURM sends its signal up to a minute earlier than it is asked to: here, within half a minute.
  limit = "partition=normal,timeout_min=1,signal_delay_s=20"
  settings = limit if told == "time limit" else "partition=grace,timeout_min=10"
  job = slurm.submit([run], tmp_path, slurm.parameters(settings), None)
  until(lambda: rows(run) or restarts(job))
  if told == "grace time":
    preempt()
  signalled = "SIGUSR2" if told == "time limit" else "SIGTERM"
  until(lambda: f"stopped by {signalled} at step" in log(run))
  until(lambda: "resuming at step" in log(run))
  assert restarts(job)
  at = len(rows(run))
  until(lambda: len(rows(run)) > at)
  ask("scancel", job)
  until(lambda: not in_queue(job))
  assert "JobState=CANCELLED" in ask("scontrol", "show", "job", job)
  assert status.read(run).state == "stopped"


@pytest.mark.slow
def test_what_is_in_the_queue_is_not_submitted_again(tmp_path, cluster, capsys):
  runs = sweep(tmp_path, rows=2, seeds=2)
  blocker = ask("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
  try:
    held = GIVEN | slurm.parameters(f"dependency=afterany:{blocker},signal_delay_s=30")
    first = slurm.submit(runs[:3], tmp_path, held, 1)
    capsys.readouterr()
    second = slurm.submit(runs, tmp_path, held, 1)
    said = capsys.readouterr().out
    assert f"3 runs are in the queue already: job {first}\n1 runs are submitted" in said
    assert len(in_queue(first)) == 3
    assert slurm.submit(runs, tmp_path, held, 1) is None
    assert f"4 runs are in the queue already: job {first}, {second}\n" == capsys.readouterr().out
    ask("scancel", first)
    assert slurm.submit(runs[:2], tmp_path, held, 1)
  finally:
    ask("scancel", blocker)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("given", "message"),
  [
    ("partition=nowhere", "sbatch refuses: .*partition"),
    ("timeout_min=soon", "--slurm: .*timeout_min.*soon"),
  ],
)
def test_what_slurm_refuses_is_told_in_one_line(tmp_path, cluster, given, message, capsys):
  with pytest.raises(UserError, match=message) as refused:
    slurm.submit(sweep(tmp_path), tmp_path, slurm.parameters(given), None)
  assert "\n" not in str(refused.value)
  assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_controller_that_does_not_answer_is_told(tmp_path, cluster, monkeypatch):
  conf = tmp_path / "slurm.conf"
  conf.write_text("ClusterName=none\nSlurmctldHost=localhost\nSlurmctldPort=1\nNodeName=none\n")
  with monkeypatch.context() as without, pytest.raises(UserError, match="SLURM does not answer"):
    without.setenv("SLURM_CONF", str(conf))
    slurm.submit(sweep(tmp_path), tmp_path, GIVEN, None)


def test_settings_are_submitits():
  assert slurm.parameters("") == {}
  text = (
    "partition=gpu,timeout_min=240,gpus_per_node=1,mem_gb=7.5,slurm_account=me,exclude=a,b,qos=x"
  )
  assert slurm.parameters(text) == {
    "slurm_partition": "gpu",
    "timeout_min": 240,
    "gpus_per_node": 1,
    "mem_gb": 7.5,
    "slurm_account": "me",
    "slurm_exclude": "a,b",
    "slurm_qos": "x",
  }


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("partitoin=gpu", "key='partitoin' is unknown; did you mean 'partition'"),
    ("slurm_gpu=1", "key='gpu' is unknown"),
    ("nodes=2", "key='nodes' is unknown"),
    ("gpu", "'gpu' is no key=value"),
  ],
)
def test_settings_that_cannot_be_are_refused_by_name(text, message):
  with pytest.raises(UserError, match=message):
    slurm.parameters(text)


def test_without_sbatch_or_submitit_one_line_says_so(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(UserError, match="there is no sbatch here"):
    slurm.submit([], tmp_path, {}, None)
  monkeypatch.setitem(sys.modules, "submitit", None)
  with pytest.raises(UserError, match="pip install 'submitit"):
    slurm.parameters("partition=gpu")
