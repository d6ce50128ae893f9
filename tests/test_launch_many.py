"""The launchers of several processes: SLURM for real, others with stand-ins for what they call."""

import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from resnet_jax.runs import metrics
from tests.cluster import ask, in_queue, preempt, restarts, until
from tests.many import Processes, free_port

TINY = ["--config=configs/resnet.py:depth=8,digits", "--config.train.steps=400"]
TINY += ["--config.train.log_every=7", "--config.train.checkpoint_every=10"]


def rows(workdir):
  return [{k: v for k, v in row.items() if k != "timing"} for row in metrics.read_rows(workdir)]


@pytest.mark.slow
def test_a_distributed_job_that_slurm_preempts_and_that_loses_a_task_ends_as_at_home(
  tmp_path, cluster
):
  workdir, log = tmp_path / "run", tmp_path / "log"
  sbatch = ["sbatch", "--parsable", "--partition=normal", "--time=20", "--gres=none"]
  sbatch += [
    "--ntasks-per-node=2",
    "--cpus-per-task=1",
    f"--output={log}",
    "--export=ALL,EXTRA=cpu",
  ]
  job = ask(*sbatch, "launch/slurm.sbatch", *TINY, f"--workdir={workdir}")
  try:
    until(lambda: len(rows(workdir)) > 4)
    preempt()
    until(lambda: "resuming at step" in log.read_text())
    assert restarts(job) == 1
    at = len(rows(workdir))
    until(lambda: len(rows(workdir)) > at)
    (second,) = tasks(workdir)[1:]
    os.kill(second, signal.SIGKILL)
    until(lambda: restarts(job) == 2)
    until(lambda: (workdir / "predictions.npz").exists())
    until(lambda: not in_queue(job))
  finally:
    subprocess.run(["scancel", job])
  said = log.read_text()
  assert said.count("resuming at step") >= 2
  assert "process 1 of 2" in said
  assert json.loads((workdir / "result.json").read_text())["device"]["processes"] == 2
  home = Processes(2, tmp_path / "home-logs", *TINY, f"--workdir={tmp_path / 'home'}")
  assert home.codes() == [0, 0]
  assert rows(workdir) == rows(tmp_path / "home")


def tasks(workdir):
  """The processes of the run, in their order."""
  found = {}
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      command = (folder / "cmdline").read_bytes().decode().split("\0")
      if (
        f"--workdir={workdir}" in command and "resnet_jax.main" in command and "srun" not in command
      ):
        environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        (rank,) = [line for line in environment if line.startswith("SLURM_PROCID=")]
        found[rank] = int(folder.name)
    except (OSError, ValueError):
      continue
  return [found[rank] for rank in sorted(found)]


@pytest.mark.slow
def test_an_array_is_a_run_for_each_seed(tmp_path, cluster):
  sbatch = ["sbatch", "--parsable", "--partition=normal", "--time=20", "--gres=none", "--array=0-1"]
  sbatch += ["--cpus-per-task=1", f"--output={tmp_path}/log%a", "--export=ALL,EXTRA=cpu"]
  flags = [*TINY, "--config.train.steps=20", f"--workdir={tmp_path / 'runs'}"]
  job = ask(*sbatch, "launch/slurm.sbatch", *flags)
  try:
    until(lambda: not in_queue(job))
  finally:
    subprocess.run(["scancel", job])
  for seed in (0, 1):
    result = json.loads((tmp_path / "runs" / f"seed{seed}" / "result.json").read_text())
    assert (result["status"], result["config"]["seed"]) == ("done", seed)


# Runs what it is to run on a host on this one, in a process of its own as sshd would.
SSH = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do if [ "$1" = -o ]; then shift; fi; shift; done
echo "$1" >>"$NOTES"; shift
exec bash -c "$*"
"""


@pytest.fixture
def ssh(tmp_path, repository):
  """Starts `launch/ssh.sh` on so many hosts, in a checkout that runs this Python."""
  copy, programs = tmp_path / "copy", tmp_path / "programs"
  shutil.copytree(repository / "launch", copy / "launch")
  programs.mkdir()
  (programs / "ssh").write_text(SSH)
  (programs / "ssh").chmod(0o755)
  (copy / "launch" / "local.sh").write_text(
    f'cd {repository}; exec {sys.executable} -m resnet_jax.main "$@"\n'
  )
  started = []

  def start(hosts, *flags):
    environment = {"HOSTS": hosts, "PORT": str(free_port()), "NOTES": str(tmp_path / "notes")}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "EXTRA": "cpu"}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    process = subprocess.Popen(
      ["bash", copy / "launch" / "ssh.sh", *flags],
      env=os.environ | environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    started.append(process)
    return process

  yield start
  for process in started:
    process.kill()


@pytest.mark.slow
def test_ssh_begins_anew_after_a_loss_and_ends_when_the_run_is_done(tmp_path, ssh):
  workdir = tmp_path / "run"
  process = ssh("user@localhost other", *TINY, f"--workdir={workdir}")
  deadline = time.monotonic() + 200
  while len(rows(workdir)) < 5:
    assert time.monotonic() < deadline
    time.sleep(0.1)
  found = subprocess.run(
    ["pgrep", "-f", f"workdir={workdir} .*--process_id=1"], capture_output=True, text=True
  )
  for pid in found.stdout.split():
    os.kill(int(pid), signal.SIGKILL)
  said = process.communicate(timeout=900)[0]
  assert process.returncode == 0, said
  assert "exit code 137: again" in said
  assert "resuming at step" in said
  assert sorted((tmp_path / "notes").read_text().split()) == sorted(["user@localhost", "other"] * 2)


@pytest.mark.slow
def test_ssh_passes_a_signal_on_and_stops_at_bad_input(tmp_path, ssh):
  workdir = tmp_path / "run"
  process = ssh("localhost other", *TINY, "--config.train.steps=100000", f"--workdir={workdir}")
  deadline = time.monotonic() + 200
  while len(rows(workdir)) < 5:
    assert time.monotonic() < deadline
    time.sleep(0.1)
  process.terminate()
  said = process.communicate(timeout=100)[0]
  assert process.returncode == 75, said
  assert "at step" in said and "again" not in said.replace("run it again", "")
  process = ssh("localhost other", *TINY, "--config.data.batch_size=15", f"--workdir={workdir}")
  said = process.communicate(timeout=100)[0]
  assert process.returncode == 1
  assert "config.data.batch_size=15 cannot be shared by 2 devices" in said


@pytest.mark.parametrize("name", ["jobset-gpu.yaml", "jobset-tpu.yaml"])
def test_jobsets_are_what_their_models_know(repository, name):
  models = pytest.importorskip("kubeflow_trainer_api.models")
  yaml = importlib.import_module("yaml")
  jobset = yaml.safe_load((repository / "launch" / name).read_text())
  read = models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict()
  assert pruned(read) == jobset  # what a model does not know it drops
  (hosts,) = jobset["spec"]["replicatedJobs"]
  job = hosts["template"]["spec"]
  (container,) = job["template"]["spec"]["containers"]
  flags = dict(flag.split("=", 1) for flag in container["command"] if flag.startswith("--"))
  chips = sum(container["resources"]["limits"].values())
  assert job["parallelism"] == job["completions"] == int(flags.get("--num_processes", 64))
  assert int(flags["--devices"]) == job["parallelism"] * chips
  if "--coordinator" in flags:
    jobset_name = jobset["metadata"]["name"]
    assert flags["--coordinator"] == f"{jobset_name}-{hosts['name']}-0-0.{jobset_name}:8476"
  assert (repository / flags["--config"].split(":")[0]).is_file()


def pruned(tree):
  """Without what is None, and numbers that are texts in the models as numbers."""
  if isinstance(tree, dict):
    return {key: pruned(value) for key, value in tree.items() if value is not None}
  return [pruned(item) for item in tree] if isinstance(tree, list) else tree


# A stand-in that keeps a TPU's state in a file, which is taken away at the first run.
GCLOUD = """#!/usr/bin/env bash
echo "$4" >>"$NOTES"
case $4 in
  describe) cat "$STATE" 2>/dev/null || exit 1 ;;
  create) echo READY >"$STATE" ;;
  delete) rm -f "$STATE" ;;
  ssh)
    for flag in "$@"; do
      case $flag in --command=*) echo "${flag#--command=}" >"$NOTES.ssh" ;; esac
    done
    if [ ! -e "$NOTES.once" ]; then echo PREEMPTED >"$STATE"; touch "$NOTES.once"; exit 255; fi
    exit "${CODE:-0}" ;;
esac
"""


@pytest.mark.parametrize("code", [0, 1])
def test_a_tpu_that_is_taken_away_is_made_again(tmp_path, repository, code):
  (tmp_path / "gcloud").write_text(GCLOUD)
  (tmp_path / "gcloud").chmod(0o755)
  environment = {"TPU": "resnet", "ZONE": "here", "DEVICES": "16", "PAUSE": "0", "CODE": str(code)}
  environment |= {"NOTES": str(tmp_path / "notes"), "STATE": str(tmp_path / "state")}
  done = subprocess.run(
    ["bash", repository / "launch" / "tpu-vm.sh", "--config=a b", "--workdir=/shared/run"],
    env=os.environ | environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == code, done.stderr
  once = ["describe", "delete", "create", "scp", "ssh"]
  assert (tmp_path / "notes").read_text().split() == once * 2
  assert "--devices=16 --config=a\\ b --workdir=/shared/run" in (tmp_path / "notes.ssh").read_text()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck here")
def test_scripts_are_lint_clean(repository):
  scripts = [*repository.glob("launch/*.sh"), *repository.glob("launch/*.sbatch")]
  subprocess.run(["shellcheck", "-x", *scripts], cwd=repository, check=True)
