"""Sweep folders as training leaves them, without training.

python -m tests.report.fake runs/fake configs/sweeps/shortcuts.py:digits
"""

import math
import pathlib
import sys
import zlib

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax.runs import metrics
from resnet_jax.sweep import plan as plan_lib

EXAMPLES = {"digits": (1437, 360)}  # or as CIFAR has them
LOGGED = ("train", "test")


def save(
  folder: pathlib.Path, rows, base="configs/resnet.py:depth=20,digits", name="fake", seeds=2
):
  """Writes sweep.json for `{name or (group, name): overrides}`; returns its plan."""
  planned = []
  for key, overrides in rows.items():
    group, row = key if isinstance(key, tuple) else ("", key)
    slug = f"{group} {row}".strip().replace(" ", "-").lower()
    planned.append(plan_lib.PlannedRow(row, group, slug, overrides, tuple(range(seeds))))
  plan = plan_lib.Plan(name, f"The sweep {name}", base, {}, tuple(planned))
  plan_lib.save(plan, folder)
  return plan


def train(folder, plan, run, error: float, state: str = "done", share: float = 1.0, seconds=300.0):
  """Leaves the files of a run that ends with that test error, or stands at a share of its way."""
  config = plan.config(run)
  examples, tested = EXAMPLES.get(config.data.name, (50_000, 10_000))
  batch = config.data.batch_size
  steps = config_lib.steps(config.train.steps, "train.steps", batch, examples)
  every = config_lib.steps(config.train.eval_every, "train.eval_every", batch, examples)
  logged = config_lib.steps(config.train.log_every, "train.log_every", batch, examples)
  rng = np.random.default_rng(zlib.crc32(run.name.encode()))
  labels = np.random.default_rng(0).integers(0, 10, tested)
  difficulty = np.random.default_rng(1).permutation(tested) + rng.normal(0, tested / 60, tested)
  wrong = difficulty.argsort() < round(error / 100 * tested)  # the same images are hard for all
  predictions = np.where(wrong, (labels + 1) % 10, labels)
  error = 100 * float(wrong.mean())
  step = round(share * steps)
  rows = []
  for at in range(1, step + 1):
    left = math.exp(-6 * at / steps)
    noise = float(np.exp(rng.normal(0, 0.25))) if not (at % logged and at % every) else 1.0
    if at % logged == 0:
      trained = min(90.0, (0.4 * error + 80 * left) * noise)
      rows.append(_row(at, "train", trained, trained / 35 + 1e-3, at * batch / examples))
    if at % every == 0 or at == steps:
      now = error if at == steps else min(90.0, (error + 80 * left) * noise**0.5)
      rows.append(_row(at, "test", now, now / 30 + 0.01, at * batch / examples))
  run.workdir.mkdir(parents=True, exist_ok=True)
  lines = "".join(metrics.json.dumps(row) + "\n" for row in rows)
  (run.workdir / "metrics.jsonl").write_text(lines)
  metrics.write_json(run.workdir / "config.json", config_lib.to_json(config))
  tests = [row["error"] for row in rows if row["split"] == "test"]
  result = {
    "status": "running" if state in ("stopped", "failed") else state,
    "test_error": tests[-1] if tests else None,
    "best_test_error": min(tests, default=None),
    "best_step": step,
    "steps": step,
    "seconds": seconds + float(rng.uniform(0, 30)),
    "peak_memory_bytes": int(900e6 + rng.uniform(0, 1e8)),
    "params": 272_474,
    "data": {"name": config.data.name, "train_examples": examples, "test_examples": tested},
    "device": {"platform": "cpu", "kind": "cpu", "count": 1},
    "versions": {"jax": "0.10.2"},
    "git_revision": "0123abc",
    "config": config_lib.to_json(config),
  }
  if state == "diverged":
    result |= {"diverged_at": step + 3, "loss": "nan"}
  if state == "done":
    np.savez(run.workdir / "predictions.npz", predictions=predictions, labels=labels)
  if state == "failed":
    metrics.write_json(run.failure, {"code": 1, "reason": f"the disk of {run.workdir} is full"})
  metrics.write_json(run.workdir / "result.json", result)


def _row(step, split, error, loss, epoch):
  row = {"step": step, "split": split, "epoch": epoch, "loss": loss, "error": error}
  return row | {"timing": {"seconds": step * 0.2}}


FINALS = {  # as the digits might have them, so that every kind of row is seen
  "constant scaling 0, 1": 88.0,
  "constant scaling 0.5, 1": 34.0,
  "constant scaling 0.5, 0.5": 4.2,
  "exclusive gating, bias 0": 71.0,
  "exclusive gating, bias -6": 2.6,
  "exclusive gating, bias -7": 3.1,
  "shortcut-only gating, bias 0": 6.4,
  "shortcut-only gating, bias -6": 2.1,
  "1x1 conv shortcut": 8.3,
  "dropout shortcut": 22.0,
  "BN after addition": 3.9,
  "full pre-activation": 1.4,
}
STATES = {  # of some runs, by row and seed
  ("dropout shortcut", 1): ("diverged", 0.45),
  ("exclusive gating, bias 0", 2): ("failed", 0.3),
  ("1x1 conv shortcut", 2): ("stopped", 0.6),
}


def main(folder: str, spec: str, *states: str) -> None:
  """A whole sweep; with `all` every run is done."""
  path = pathlib.Path(folder)
  plan = plan_lib.read(spec, {})
  plan_lib.save(plan, path)
  for run in plan.runs(path):
    state, share = ("done", 1.0)
    if "all" not in states:
      state, share = STATES.get((run.row.name, run.seed), (state, share))
    depth = plan.config(run).model.depth
    error = FINALS.get(run.row.name, 2.0 + 20 / depth) * (1 + 0.08 * (run.seed - 1))
    if run.row.group == "plain":
      error *= depth / 20
    train(path, plan, run, min(error, 90.0), state, share)


if __name__ == "__main__":
  main(*sys.argv[1:])
