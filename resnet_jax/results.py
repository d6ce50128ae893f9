"""What stays of a run for others to read: `result.json` and the picture of its curves."""

import importlib.metadata
import pathlib
import platform
import subprocess
from typing import Any

import jax

from resnet_jax import metrics
from resnet_jax.config import to_json

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def result(setup, position, status: str) -> dict[str, Any]:
  """The result of a run: status done or diverged, errors in percent, and what it ran on."""
  return {
    "status": status,
    "test_error": position.test_error,
    "best_test_error": position.best_test_error,
    "best_step": position.best_step,
    "steps": position.step,
    "seconds": position.seconds,
    "params": sum(leaf.size for leaf in jax.tree.leaves(setup.template.params)),
    "data": {
      "name": setup.dataset.info.name,
      "fingerprint": setup.dataset.fingerprint,
      "train_examples": len(setup.dataset.train.labels),
      "test_examples": len(setup.dataset.test.labels),
    },
    "device": device(),
    "versions": {"python": platform.python_version()}
    | {name: importlib.metadata.version(name) for name in _VERSIONS},
    "git_revision": git_revision(),
    "config": to_json(setup.config),
  }


def device() -> dict[str, Any]:
  """What the run was computed on."""
  first = jax.devices()[0]
  return {"platform": first.platform, "kind": first.device_kind, "count": jax.device_count()}


def git_revision() -> str | None:
  """The commit of this code, with `-dirty` where it was edited since; None outside a checkout."""
  here = pathlib.Path(__file__).parent
  try:
    described = subprocess.run(
      ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
      cwd=here,
      capture_output=True,
      text=True,
      check=True,
      timeout=10,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return described.stdout.strip() or None


def plot(workdir: pathlib.Path, config) -> None:
  """Draws `plots/curves.png` from the run's metrics."""
  from resnet_jax import curves

  model = config.model
  title = f"{model.family} {model.unit}-{model.depth}, {model.after_add}, {config.data.name}"
  curves.plot(metrics.read_rows(workdir), workdir / "plots" / "curves.png", title)
