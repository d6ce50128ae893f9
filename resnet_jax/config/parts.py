"""What is registered, as seen from the config: its settings, and the users' files it comes from."""

import functools
import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from resnet_jax import registry
from resnet_jax.config import files
from resnet_jax.config.setting import Belongs, Setting
from resnet_jax.config.settings import SETTINGS
from resnet_jax.errors import UserError

SHOWN = 12  # digits of a file's SHA-256 in messages


def known() -> dict[str, Setting]:
  """The table, and after it the settings of everything that is registered now.

  Raises:
    UserError: a part's settings would stand where others do.
  """
  found = dict(SETTINGS)
  groups = {key.rpartition(".")[0] for key in SETTINGS}
  for place, name, part in _registered():
    group = f"{place.key.rpartition('.')[0]}.{name}"
    label, chooses = place.label(name), functools.partial(place.chooses, name=name)
    about = part.value.__doc__ if callable(part.value) else None
    about = (about or "").strip().split("\n")[0]
    for key, default in part.settings.items():
      full = f"{group}.{key}"
      if full in found or group in SETTINGS or group in groups:
        raise UserError(
          f"{place.kind} {name!r}: config.{full} would collide with other settings; choose another "
          "name"
        )
      found[full] = Setting(
        default,
        f"Setting of {label}{about and ': '}{about}",
        belongs=Belongs(place.key, text=label, of=chooses),
        resume=SETTINGS[place.key].resume,
      )
  return found


def free(of_a_sweep: bool = False) -> set[str]:
  """The settings that a resume may change, since they leave the training as it is but for rounding.

  `train.steps` and the schedule, with what it reads, are compared by the learning rates they give.

  Args:
    of_a_sweep: of a sweep's run, whose length may not change: rows are compared over one budget.
  """
  allowed = ("sweep",) if of_a_sweep else ("free", "sweep")
  return {key for key, setting in known().items() if setting.resume in allowed}


def choices(key: str) -> tuple[str, ...]:
  """The names that a setting may have, the package's and those that are registered now."""
  own = (name for place, name, _ in _registered() if place.key == key and not place.within)
  return tuple(dict.fromkeys((*SETTINGS[key].choices, *own)))


def of_users(config: Any) -> list[dict[str, Any]]:
  """The users' files that registered what the config chooses, as config.json keeps them."""
  found: dict[pathlib.Path, dict[str, Any]] = {}
  for place, name, part in _registered():
    if part.file and place.chooses(config[place.key], name):
      entry = {"path": str(part.file), "sha256": part.sha256, "registers": []}
      found.setdefault(part.file, entry)["registers"].append(place.label(name))
  return list(found.values())


def texts(config: Any) -> dict[str, str]:
  """Of each part that the config chooses of users' files, the start of its file's SHA-256."""
  entries = of_users(config)
  return {label: entry["sha256"][:SHOWN] for entry in entries for label in entry["registers"]}


def load(entries: Sequence[dict[str, Any]]) -> None:
  """Registers what a stored config chose of users' files, unless it is registered already.

  A file is executed only if it is as it was.

  Raises:
    UserError: a file is needed and it is not there or has changed, or it fails.
  """
  for entry in entries:
    missing = [label for label in entry["registers"] if label not in _by_label()]
    if not missing:
      continue
    path, digest = pathlib.Path(entry["path"]), entry["sha256"]
    needs = f"{missing[0]} needs {path} as it was (SHA-256 {digest[:SHOWN]})"
    try:
      now = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
      now, why = "", f"it cannot be read: {error.strerror}"
    else:
      why = f"now it is {now[:SHOWN]}"
    if now != digest:
      raise UserError(f"{needs}; {why}; restore it, or give a --config that registers the same")
    files.execute(path)
    if missing[0] not in _by_label():
      raise UserError(f"{needs}; it no longer registers that")


def changes(entries: Sequence[dict[str, Any]]) -> Iterator[str]:
  """A line for each file whose parts are registered now from other text than when it was stored."""
  for entry in entries:
    for label in entry["registers"]:
      part = _by_label().get(label)
      if part and part.sha256 != entry["sha256"]:
        now = f"{part.file} (SHA-256 {part.sha256[:SHOWN]})" if part.file else "no file"
        yield (
          f"{label} comes from {now}; the run began with {entry['path']} "
          f"(SHA-256 {entry['sha256'][:SHOWN]})"
        )
        break


def _registered() -> Iterator[tuple[registry.Registry, str, registry.Part]]:
  for place in registry.REGISTRIES:
    for name, part in place.parts.items() if place.key else ():
      yield place, name, part


def _by_label() -> dict[str, registry.Part]:
  return {place.label(name): part for place, name, part in _registered()}
