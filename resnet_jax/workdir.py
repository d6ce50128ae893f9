"""A run's folder: whose it is, that nobody else is in it, and what the run was told to do."""

import fcntl
import hashlib
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


def begins(*workdirs: pathlib.Path) -> bool:
  """Whether all of these runs are new: only then is refused what a run that has begun may have.

  The runs of a sweep that began before such refusals count as begun, all of them.

  Raises:
    UserError: see `read_config`.
  """
  for workdir in workdirs:
    if read_config(workdir) is not None or (workdir / "checkpoints").exists():
      return False
  sweep = workdirs[0].absolute().parent.parent / "sweep.json"
  try:
    return bool(json.loads(sweep.read_text())["strict"])
  except OSError:
    return True  # of no sweep
  except (ValueError, KeyError, TypeError):
    return False


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


def identity(config: Any) -> str:
  """A digest of the settings that may not change on a resume, the seed among them.

  Only those that differ from their defaults count, so that a setting which a later version adds
  changes no digest. Two configs that a resume takes for the same have the same identity.
  """
  changed = config_lib.differences(config_lib.default_config(), config)
  fixed = {key: _plain(key, value) for key, (_, value) in changed.items() if key not in FREE}
  return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def _plain(key: str, value: Any) -> Any:
  """A value so that those which `config.differences` takes for equal are written alike."""
  if key in config_lib.DURATIONS:
    return str(value)
  return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
