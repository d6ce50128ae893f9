"""launch/miniature.sh from photographs to a fine-tuned net, in a few steps on images made here."""

import json
import os
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from resnet_jax.runs import metrics
from tests import hurry


def photographs(root):
  """Two classes, of horizontal and of vertical stripes, in several shapes."""
  random = np.random.default_rng(0)
  for split, count in (("train", 16), ("val", 3)):
    for label in ("lying", "standing"):
      (root / split / label).mkdir(parents=True)
      for number in range(count):
        height, width = [(64, 48), (48, 64), (56, 56)][number % 3]
        y, x = np.mgrid[:height, :width]
        waves = np.sin((y if label == "lying" else x) / 2 + random.uniform(0, 6))
        pixels = 127 + 100 * waves[..., None] * random.uniform(0.5, 1, 3)
        Image.fromarray(np.uint8(pixels)).save(root / split / label / f"{number}.jpg")
  return root


@pytest.mark.slow
def test_miniature(repository, tmp_path):
  folder, run = photographs(tmp_path / "photographs"), tmp_path / "run"
  flags = {
    "data.image_size": 32,
    "data.batch_size": 8,
    "data.workers": 1,
    "optim.warmup": 0,
    "train.steps": 6,
    "train.log_every": 1,
    "train.eval_every": 3,
    "train.checkpoint_every": 2,
  }
  done = subprocess.run(
    ["bash", "launch/miniature.sh", folder, run, *(f"--config.{k}={v}" for k, v in flags.items())],
    capture_output=True,
    text=True,
    cwd=repository,
    env=os.environ | {"XLA_FLAGS": hurry.FLAGS},
  )
  assert done.returncode == 0, done.stderr
  assert "killed; going on" in done.stdout and "resuming at step" in done.stdout
  rows = metrics.read_rows(run)
  assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3, 4, 5, 6]
  assert [row["step"] for row in rows if row["split"] == "test"] == [3, 6]
  tests = re.findall(r"^(\S.*):\nstep 6: test error ([\d.]+) % \(\d of 6\)", done.stdout, re.M)
  names = [
    "single",
    "320",
    "10-crop",
    "multi-scale",
    "single, BN statistics of 40 training batches",
  ]
  assert [name for name, _ in tests] == names
  # The first is the test of the training itself.
  assert float(tests[0][1]) == pytest.approx(rows[-1]["error"], abs=0.01)
  assert re.search(r"lying/0.jpg\n +[\d.]+ %  (lying|standing)\n", done.stdout)
  assert np.load(f"{run}-features.npz")["features"].shape == (6, 512)
  tuned = json.loads((tmp_path / "run-finetuned" / "result.json").read_text())
  assert tuned["status"] == "done"
  assert tuned["config"]["finetune"] == {"weights": str(run), "frozen": "stem,stage1"}
