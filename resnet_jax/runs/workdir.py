"""A run's folder: whose it is, that nobody else is in it, and what the run was told to do."""

import fcntl
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from resnet_jax import config as config_lib
from resnet_jax.config import parts, paths, settings
from resnet_jax.errors import UserError
from resnet_jax.runs.progress import say

# What a run leaves beside its checkpoints and its config; any other file may be there before it.
OF_A_RUN = {"metrics.jsonl", "metrics.aside", "result.json", "predictions.npz"}

_said = set[str]()  # by this process, which says it once


def read_config(workdir: pathlib.Path, given: Any = None) -> Any:
  """The config of the run in `workdir`, or None in a new folder, one without folders in it.

  Args:
    workdir: the folder.
    given: the config to take for a run's whose config.json is lost; its checkpoints tell whether it
      is.

  Raises:
    UserError: the folder is not a run's, or cannot be read, or its config is lost, or a user's file
      that it needs is not as it was.
  """
  path = workdir / "config.json"
  try:
    if path.is_file():
      tree = json.loads(path.read_text())
      config = config_lib.from_json(tree)
      for line in parts.changes(tree.get(config_lib.FILES, [])):
        _say_once(f"warning: {line}", line, say)
      return config
    if workdir.exists() and not workdir.is_dir():
      raise UserError(f"--workdir={workdir} is a file; name a folder")
    if holds_checkpoints(workdir):
      if given is None:
        raise UserError(
          f"--workdir={workdir} holds checkpoints, but its config.json is lost; train it or "
          "evaluate it (--mode=eval) with the --config that it was started with"
        )
      return given
    for found in sorted(workdir.iterdir()) if workdir.is_dir() else ():
      if found.is_dir() or found.name in OF_A_RUN:
        raise UserError(
          f"--workdir={workdir} is not empty and holds no run (no config.json, but "
          f"{found.name!r}); name a new folder"
        )
  except OSError as error:
    raise UserError(f"--workdir={workdir} cannot be read: {error.strerror}") from None
  except ValueError as error:
    raise UserError(
      f"{path} is damaged ({error}); move it away and give the --config that the run was started "
      "with, or take a new --workdir"
    ) from None
  return None


def _say_once(text: str, what: str, say: Callable[[str], None]) -> None:
  if what not in _said:
    _said.add(what)
    say(text)


def holds_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether a run has saved something in the folder."""
  folder = workdir / "checkpoints"
  return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def begins(*workdirs: pathlib.Path) -> bool:
  """Whether all of these runs are new: only then is refused what a run that has begun may have.

  The runs of a sweep that began before such refusals count as begun, all of them.

  Raises:
    UserError: see `read_config`.
  """
  for workdir in workdirs:
    if (workdir / "checkpoints").exists() or read_config(workdir) is not None:
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

  Only those that are read and differ from their defaults count, so that a setting which a later
  version adds changes no digest; those of a registered part count all, as its file may give another
  default. Two configs that a resume takes for the same have the same.
  """
  ignored = parts.free() | config_lib.unread(config)
  fixed = {}
  for key, value in config_lib.leaves(config).items():
    plain, row = config_lib.plain(key, value), settings.SETTINGS.get(key)
    if key not in ignored and (row is None or plain != config_lib.plain(key, row.default)):
      fixed[key] = plain
  return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def other_run(config: Any, position: Mapping[str, Any]) -> str | None:
  """Why the checkpoint of `position` is not of the run with `config`; None if it is, or if an
  older version saved it, whose positions do not say.
  """
  saved = position.get("identity")
  if not saved or saved == identity(config):
    return None
  if position["seed"] != config.seed:
    return f"seed {position['seed']}, here {config.seed}"
  return "its settings differ"


def say_if_older(position: Mapping[str, Any], say: Callable[[str], None]) -> None:
  """Says, once in this process, that a checkpoint is taken for this run's without proof."""
  if not position.get("identity"):
    text = "does not say which run it is of (an older version saved it); it is used"
    _say_once(f"checkpoint {position['step']} {text}", text, say)


def refuse_changes(old: Any, new: Any, of_a_sweep: bool = False) -> None:
  """Raises a UserError with the keys in which `new` differs from `old` and that a resume, perhaps
  `of_a_sweep`, may not change.
  """
  free = parts.free(of_a_sweep)
  _refuse(old, new, lambda key: key not in free)


def refuse_other_network(old: Any, new: Any) -> None:
  """Raises a UserError with the keys in which `new` describes another network than `old`, or
  normalizes its images otherwise.
  """
  without = parts.free() | {*settings.having("training")}
  computed = new.data.normalize in config_lib.COMPUTED
  normalization = settings.having("normalization") if computed else ("data.normalize",)

  def matters(key: str) -> bool:
    return (key.startswith("model.") and key not in without) or key in normalization

  _refuse(old, new, matters)


def result(workdir: pathlib.Path) -> dict[str, Any]:
  """A run's `result.json`; empty if there is none that can be read."""
  try:
    return dict(json.loads((workdir / "result.json").read_text()))
  except (OSError, ValueError, TypeError):
    return {}


def recorded(workdir: pathlib.Path) -> dict[str, Any]:
  """What a run's `result.json` says of its data set; empty if it says nothing."""
  try:
    found = result(workdir)["data"]
    return found | {key: tuple(found[key]) for key in ("shape", "classes")}
  except (KeyError, TypeError):
    return {}


def class_names(workdir: str | os.PathLike, position: Mapping[str, Any]) -> tuple[str, ...] | None:
  """The names of a run's classes in the order of the logits; None if they are not known.

  Checkpoints of older versions lack them: then `result.json` has them, of the same data.
  """
  if position.get("classes"):
    return tuple(position["classes"])
  found = recorded(pathlib.Path(paths.expand(workdir, "--workdir")))
  same = position["data"] and found.get("fingerprint") == position["data"]
  return found["classes"] if same else None


def refuse_other_data(
  old: Any, dataset: Any, fingerprint: str, classes: Sequence[str] | None = None
) -> None:
  """Raises a UserError if `dataset` is not the one that the run began with.

  Args:
    old: the run's config.
    dataset: what its data set is now.
    fingerprint: that of the run's.
    classes: the names of the run's; None if they are not known.
  """
  if fingerprint == dataset.fingerprint:
    return
  restore = f"restore config.data.dir={old.data.dir!r}"
  if classes is not None and (changes := class_changes(classes, dataset.info.classes)):
    raise UserError(
      f"{changes} in the {old.data.name} here; {restore} as it was, or take a new --workdir "
      "(config.finetune.weights begins with this run's weights)"
    )
  raise UserError(
    f"the {old.data.name} here (fingerprint {dataset.fingerprint}) is not the one that the run "
    f"began with ({fingerprint}); {restore} or take a new --workdir"
  )


def class_changes(before: Sequence[str], now: Sequence[str]) -> str:
  """What has become of the classes, as "the class 'dog' is new"; "" if they are the same."""
  new = [name for name in now if name not in before]
  missing = [name for name in before if name not in now]
  found = [
    f"the class{'es' * (len(names) > 1)} {', '.join(map(repr, names[:3]))}"
    f"{f' and {len(names) - 3} more' * (len(names) > 3)} {'are' if len(names) > 1 else 'is'} {what}"
    for names, what in ((new, "new"), (missing, "missing"))
    if names
  ]
  if not found and list(before) != list(now):
    return "the classes are in another order"
  return ", ".join(found)


def _refuse(old: Any, new: Any, matters: Callable[[str], bool]) -> None:
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
