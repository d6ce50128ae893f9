"""Every task, a user's too: killed and resumed, on devices and processes, swept and reported."""

import json
import os
import re

import jax
import numpy as np
import pytest

import resnet_jax
from resnet_jax.runs import metrics
from tests import hurry
from tests.many import Processes
from tests.warm import Command

TOYS = "tests/tasks/toys"
TASKS = {
  "classification": ("configs/resnet.py:depth=8,digits", "error", "%"),
  "regression": (f"{TOYS}/brightness.py", "square error", ""),
  "segmentation": (f"{TOYS}/strokes.py", "mean IoU", "%"),
}
STEPS = [
  f"--config.train.{key}={value}"
  for key, value in {"steps": 8, "log_every": 2, "eval_every": 4, "checkpoint_every": 3}.items()
]
ENVIRONMENT = os.environ | {"XLA_FLAGS": hurry.FLAGS}


def start(task, workdir):
  return Command(
    "resnet_jax.main", f"--config={TASKS[task][0]}", f"--workdir={workdir}", *STEPS, env=ENVIRONMENT
  )


def finish(command):
  """What a command prints, which must end well."""
  output, errors = command.communicate(timeout=900)
  assert command.returncode == 0, output + errors
  return output


def facts(workdir):
  """The rows without their timing, and the weights."""
  rows = [row | {"timing": None} for row in metrics.read_rows(workdir)]
  return rows, resnet_jax.load_run(workdir).variables


@pytest.fixture(scope="module", params=TASKS)
def trained(request, tmp_path_factory):
  """A task, and a run of it that nobody kills."""
  workdir = tmp_path_factory.mktemp(request.param) / "whole"
  output = finish(start(request.param, workdir))
  _, title, unit = TASKS[request.param]
  assert re.search(rf"step 8: test {title} [\d.]+{unit and ' '}{unit}", output), output
  return request.param, workdir


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(trained, tmp_path):
  task, whole = trained
  cut = tmp_path / "cut"
  command = start(task, cut)
  while command.poll() is None and not list(cut.glob("checkpoints/[0-9]/position")):
    pass
  command.kill()
  command.communicate(timeout=900)
  assert "resuming at step" in finish(start(task, cut))
  (rows, weights), (cut_rows, cut_weights) = facts(whole), facts(cut)
  assert rows == cut_rows
  jax.tree.map(np.testing.assert_array_equal, weights, cut_weights)


@pytest.mark.slow
def test_devices_and_processes_test_each_example_once(trained, tmp_path):
  task, whole = trained
  found = []
  for processes, devices in ((1, 1), (1, 8), (2, 2)):
    logs, file = tmp_path / f"{processes}-{devices}", tmp_path / f"{processes}-{devices}.npz"
    flags = ["--mode=eval", f"--workdir={whole}", f"--predictions={file}"]
    run = Processes(processes, logs, *flags, devices=devices, xla=hurry.FLAGS)
    assert run.codes() == [0] * processes, run.logs[0].read_text()
    (line,) = re.findall("^step 8: test .*", run.logs[0].read_text(), re.M)
    found.append((line, dict(np.load(file))))
  assert len({line for line, _ in found}) == 1
  for _, kept in found[1:]:
    for name, values in kept.items():
      np.testing.assert_allclose(values, found[0][1][name], rtol=2e-5, atol=1e-9)
  result = json.loads((whole / "result.json").read_text())
  last = result[f"test_{result['headline']['name']}"]
  assert resnet_jax.Metric(**result["headline"]).text(last) in found[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in TASKS if task != "classification"])
def test_it_is_swept_and_reported_under_its_own_headline(task, tmp_path):
  base, title, unit = TASKS[task]
  (tmp_path / "sweep.py").write_text(
    '"""Two rates."""\nfrom resnet_jax.sweep import Sweep, grid\n\n\ndef get_sweep():\n'
    f'  rows = grid({{"optim.learning_rate": [0.01, 0.02]}})\n'
    f"  return Sweep({base!r}, rows, seeds=1)\n"
  )
  flags = [f"--config={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / 'sweep'}", *STEPS]
  output = finish(Command("resnet_jax.sweep", *flags, env=ENVIRONMENT))
  assert len(re.findall(rf"done, test {title} [\d.]+{unit and ' '}{unit}", output)) == 2, output
  page = (tmp_path / "sweep" / "report" / "report.md").read_text()
  assert f"test {title} on" in page and "test error" not in page and "published" not in page
