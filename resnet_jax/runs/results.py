"""What stays of a run for others to read: `result.json` and the picture of its curves."""

import importlib.metadata
import pathlib
import platform
import resource
import subprocess
import sys
from typing import Any

import jax
import numpy as np

from resnet_jax.config import in_words, to_json
from resnet_jax.native import choice
from resnet_jax.runs import curves, metrics, whole
from resnet_jax.runs.headline import Metric

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def result(setup, position, status: str) -> dict[str, Any]:
  """The result of a run: status done or diverged, its headline, and what it ran on."""
  headline, device = setup.learner.task.headline, jax.devices()[0]
  return {
    "status": status,
    "headline": headline._asdict(),
    f"test_{headline.name}": position.headline,
    f"best_test_{headline.name}": position.best,
    "best_step": position.best_step,
    "steps": position.step,
    "seconds": position.seconds,
    "peak_memory_bytes": position.peak_memory_bytes,
    "params": sum(leaf.size for leaf in jax.tree.leaves(setup.template.params)),
    "data": {
      "name": setup.dataset.info.name,
      "shape": list(setup.dataset.info.shape),
      "classes": list(setup.dataset.info.classes),
      "fingerprint": setup.dataset.fingerprint,
      "train_examples": setup.dataset.train_examples,
      "test_examples": setup.dataset.test_examples,
    },
    "device": {
      "platform": device.platform,
      "kind": device.device_kind,
      "count": jax.device_count(),
      "processes": jax.process_count(),
    },
    "kernels": position.kernels or choice.LIBRARY,
    "versions": {"python": platform.python_version()}
    | {name: importlib.metadata.version(name) for name in _VERSIONS},
    "git_revision": git_revision(),
    "config": to_json(setup.config),
  }


def peak_memory_bytes() -> int:
  """The most memory that this process has held: the fullest device's, on a CPU the process's."""
  on_devices = [device.memory_stats() or {} for device in jax.local_devices()]
  peak = max(stats.get("peak_bytes_in_use", 0) for stats in on_devices)
  unit = 1 if sys.platform == "darwin" else 1024
  return peak or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def write_predictions(path: pathlib.Path, kept: dict[str, Any], step: int) -> None:
  """Saves what an evaluation keeps, such as the class of every example, whole or not at all."""
  with whole.written(path) as file:
    np.savez(file, **kept | {"step": step})


def git_revision() -> str | None:
  """The commit of this code, with `-dirty` where it was edited since; None outside a checkout.

  A package that is installed inside somebody else's checkout is no part of that.
  """
  tracked = _git("ls-files", "--error-unmatch", pathlib.Path(__file__).name)
  return tracked and _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
  """What git prints in the folder of this file; None where it fails or prints nothing."""
  command, here = ["git", *arguments], pathlib.Path(__file__).parent
  try:
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10)
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip() or None


def plot(workdir: pathlib.Path, config, headline: Metric) -> None:
  """Draws `plots/curves.png` from the run's metrics."""
  title = in_words(config)
  folder = workdir / "plots"
  folder.mkdir(exist_ok=True)  # before it draws: in place of a folder that vanishes, none is made
  curves.plot(metrics.read_rows(workdir), headline, folder / "curves.png", title)
