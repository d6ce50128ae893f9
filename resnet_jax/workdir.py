"""A run's folder: whose it is, that nobody else is in it, and what the run was told to do."""

import fcntl
import json
import pathlib
import time
from collections.abc import Collection
from typing import IO, Any

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError

# Settings that a resume may change, since they leave the training as it is, but for rounding.
# `train.steps` and the schedule are compared by the learning rates they give.
FREE = {
  "data.dir",
  "data.workers",
  "model.remat",
  "model.unroll",
  "optim.drop_at",
  "optim.drop_factor",
  "optim.learning_rate",
  "optim.schedule",
  "optim.warmup",
  "optim.warmup_learning_rate",
  "train.checkpoint_every",
  "train.eval_every",
  "train.steps",
}

TRAINING = {"model.init", "model.norm.decay", "model.norm.group_size"}  # no matter once trained
NORMALIZATION = ("data.name", "data.normalize", "data.train_split")
BEFORE_A_RUN = (".lock", ".config.json.partial")  # what a start leaves that was killed at once


def read_config(workdir: pathlib.Path) -> Any:
  """The config of the run in `workdir`, or None in a new or empty folder.

  Raises:
    UserError: the folder is not a run's, or cannot be read.
  """
  path = workdir / "config.json"
  try:
    if path.is_file():
      return config_lib.from_json(json.loads(path.read_text()))
    if workdir.exists() and not workdir.is_dir():
      raise UserError(f"--workdir={workdir} is a file; name a folder")
    if workdir.is_dir() and any(p.name not in BEFORE_A_RUN for p in workdir.iterdir()):
      raise UserError(
        f"--workdir={workdir} is not empty and holds no run (no config.json); name a new folder"
      )
  except OSError as error:
    raise UserError(f"--workdir={workdir} cannot be read: {error.strerror}") from None
  except ValueError as error:
    raise UserError(f"{path} is damaged ({error}); restore it or take a new --workdir") from None
  return None


def lock(workdir: pathlib.Path) -> IO[str]:
  """Creates the folder if need be and holds it until the file returned is closed.

  Raises:
    UserError: it cannot be written, or another run is in it.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    handle = (workdir / ".lock").open("w")
  except OSError as error:
    raise UserError(
      f"--workdir={workdir} cannot be written: {error.strerror}; name a folder that can"
    ) from None
  for attempt in range(10):
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return handle
    except OSError:  # perhaps only somebody who looks whether the folder is in use
      time.sleep(0.01 * attempt)
  handle.close()
  raise UserError(f"--workdir={workdir} is in use by another run; wait or take another")


def refuse_changes(old: Any, new: Any, free: Collection[str] = FREE) -> None:
  """Raises a UserError with the keys, but `free` ones, in which `new` differs from `old`; those
  that are free by default leave the training as it is.
  """
  _refuse(old, new, lambda key: key not in free)


def refuse_other_network(old: Any, new: Any) -> None:
  """Raises a UserError with the keys in which `new` describes another network than `old`, or
  normalizes its images otherwise.
  """
  network = lambda key: key.startswith("model.") and key not in FREE | TRAINING
  computed = new.data.normalize in config_lib.COMPUTED
  normalization = NORMALIZATION if computed else ("data.normalize",)
  _refuse(old, new, lambda key: network(key) or key in normalization)


def refuse_other_data(old: Any, dataset: Any, fingerprint: str) -> None:
  """Raises a UserError where `dataset` is not the one of that fingerprint, which `old` names."""
  if fingerprint != dataset.fingerprint:
    raise UserError(
      f"the {old.data.name} here (fingerprint {dataset.fingerprint}) is not the one that the run "
      f"began with ({fingerprint}); restore config.data.dir={old.data.dir!r} or take a new "
      "--workdir"
    )


def _refuse(old: Any, new: Any, matters) -> None:
  changes = [
    f"{key}: {before!r} -> {after!r}"
    for key, (before, after) in config_lib.differences(old, new).items()
    if matters(key)
  ]
  if changes:
    raise UserError(
      f"this workdir holds a run of another config ({'; '.join(changes)}); "
      "undo the change or take a new --workdir"
    )
