"""The files in examples/: short, swept, killed, resumed, and in a report."""

import os
import time

import numpy as np
import pytest

import resnet_jax
from tests import hurry
from tests.warm import ROOT, Command

# Of each example its argument, a setting, and two values of it.
SWEPT = {
  "adamw": ("depth=8,digits", "optim.adamw.b2", [0.99, 0.999]),
  "arrays": ("{folder}/mine.npz", "data.batch_size", [8, 16]),
  "label_smoothing": ("depth=8,digits", "task.smoothed.share", [0.1, 0.2]),
  "leaky_groupnorm": ("depth=8,digits", "model.GN.groups", [4, 8]),
  "stochastic_depth": ("depth=8,digits", "model.stochastic.survival", [0.5, 0.8]),
}
STEPS = [
  f"--config.train.{key}={value}"
  for key, value in {"steps": 6, "log_every": 2, "eval_every": 3, "checkpoint_every": 2}.items()
]


def test_all_are_here_and_short():
  files = sorted(
    path for path in (ROOT / "examples").glob("*.py") if "get_config" in path.read_text()
  )
  assert [path.stem for path in files] == sorted(SWEPT)
  assert max(len(path.read_text().splitlines()) for path in files) <= 25


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEPT)
def test_an_example(name, tmp_path):
  argument, key, values = SWEPT[name]
  images = resnet_jax.load_data(resnet_jax.load_config("configs/resnet.py:digits").data).train
  np.savez(tmp_path / "mine.npz", images=images.images[:200], labels=images.targets[:200])
  base = f"{ROOT}/examples/{name}.py:{argument.format(folder=tmp_path)}"
  (tmp_path / "sweep.py").write_text(
    f'"""Values of {key}."""\nfrom resnet_jax.sweep import Sweep, grid\n\n\ndef get_sweep():\n'
    f"  return Sweep({base!r}, grid({{{key!r}: {values}}}), seeds=1)\n"
  )
  folder = tmp_path / "sweep"

  def start():
    flags = [f"--config={tmp_path / 'sweep.py'}", f"--workdir={folder}", *STEPS]
    return Command("resnet_jax.sweep", *flags, env=os.environ | {"XLA_FLAGS": hurry.FLAGS})

  sweep = start()
  while sweep.poll() is None and not list(folder.glob("*/seed0/checkpoints/[0-9]/position")):
    time.sleep(0.05)
  sweep.terminate()
  output, errors = sweep.communicate(timeout=600)
  assert sweep.returncode == 75, output + errors
  sweep = start()
  output, errors = sweep.communicate(timeout=600)
  assert sweep.returncode == 0, output + errors
  logs = "".join(path.read_text() for path in (folder / "logs").glob("*.txt"))
  assert "resuming at step" in logs
  page = (folder / "report" / "report.md").read_text()
  assert "2 of 2 runs done" in page
  for value in values:
    assert f"--config.{key}={value}" in page
