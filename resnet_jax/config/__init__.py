"""The tree of settings of one run, its defaults, and the check that every run starts with.

A config file edits `default_config()`; nothing outside that tree is accepted. This module
imports nothing of JAX, so that config files stay cheap to read.
"""

import contextlib
import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from resnet_jax.config import files, parts, values
from resnet_jax.config.parts import choices as choices
from resnet_jax.config.parts import known as known
from resnet_jax.config.setting import Setting
from resnet_jax.config.settings import COMPUTED as COMPUTED
from resnet_jax.config.settings import DROPS as DROPS
from resnet_jax.config.settings import SETTINGS, having, idle
from resnet_jax.config.values import ABSENT, duration
from resnet_jax.config.values import steps as steps
from resnet_jax.errors import UserError

FILES = "files"  # in config.json, beside the tree: the users' files; see `parts.of_users`


def default_config() -> ml_collections.ConfigDict:
  """The whole tree with its defaults: ResNet-110 on CIFAR-10 as in the papers.

  The settings of everything that is registered now are in it.
  """
  return _tree(known())


def _tree(settings: Mapping[str, Setting]) -> ml_collections.ConfigDict:
  """The defaults as a tree, locked."""
  # A duration may be a number or a text, so ml_collections must not insist on the default's type
  # in its group; `check` does.
  loose = {key.rpartition(".")[0] for key, setting in settings.items() if setting.duration}
  config = ml_collections.ConfigDict()
  for key, setting in settings.items():
    *groups, last = key.split(".")
    node = config
    for depth, name in enumerate(groups, start=1):
      if name not in node:
        node[name] = ml_collections.ConfigDict(type_safe=".".join(groups[:depth]) not in loose)
      node = node[name]
    optional = setting.optional
    node[last] = config_dict.placeholder(optional) if optional else setting.default
  return config.lock()


def leaves(config: ml_collections.ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
  """`{"model.depth": 110, ...}`: the tree as one level of dotted keys."""
  flat: dict[str, Any] = {}
  for key in sorted(config.keys()):
    value = config[key]
    if isinstance(value, ml_collections.ConfigDict | dict):
      flat |= leaves(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


def unread(config: ml_collections.ConfigDict) -> set[str]:
  """The keys that nothing reads under this config's other settings, whatever their values.

  The training is the same, bit for bit, with any other value of them: `{"optim.drop_at",
  "optim.drop_factor"}` under a cosine. A shortcut or model of one's own is taken to read all of the
  model's, but for the settings of other parts.
  """
  flat = leaves(config)
  idle_keys = {key for key, setting in known().items() if key in flat and idle(setting, flat)}
  choosers = ("model.name", "model.shortcut")
  if all(flat[chooser] in SETTINGS[chooser].choices for chooser in choosers):
    return idle_keys
  return {key for key in idle_keys if not key.startswith("model.") or key not in SETTINGS}


def reset(config: ml_collections.ConfigDict, keys: Iterable[str]) -> None:
  """Sets keys to their defaults."""
  settings = known()
  config.update_from_flattened_dict({key: settings[key].default for key in keys})


def refuse_unread(config: ml_collections.ConfigDict) -> None:
  """Raises a UserError where a setting is not at its default and nothing reads it.

  For what is given to a run that is new; a run that has begun may go on with it.
  """
  settings = known()
  for key in sorted(unread(config)):
    setting = settings[key]
    belongs = setting.belongs
    if belongs and belongs.text and config[key] not in (setting.default, *setting.harmless):
      raise UserError(
        f"config.{key}={config[key]!r} does nothing with config.{belongs.to}="
        f"{config[belongs.to]!r}; it belongs to {belongs.text}; leave it at {setting.default!r}"
      )


def in_words(config: ml_collections.ConfigDict) -> str:
  """The net and its data in a few words: `cifar basic-20, identity, original, digits`."""
  model = config.model
  net = f"{model.family} {model.unit}-{model.depth}, {model.shortcut}, {model.after_add}"
  if model.name != "resnet":
    net = model.name  # whose settings are its own
  return f"{net}, {config.data.name}"


def differences(
  before: ml_collections.ConfigDict, after: ml_collections.ConfigDict
) -> dict[str, tuple[Any, Any]]:
  """The keys whose values differ, with both, but for those that neither config reads.

  A duration of "100", as flags give it, is 100. What one config lacks is None there.
  """
  old, new = leaves(before), leaves(after)
  read = (old.keys() - unread(before)) | (new.keys() - unread(after))
  pairs = {key: (old.get(key), new.get(key)) for key in sorted(read)}
  return {key: pair for key, pair in pairs.items() if plain(key, pair[0]) != plain(key, pair[1])}


def plain(key: str, value: Any) -> Any:
  """A value so that those which mean the same are written alike: 100, "100" and 1.0, 1."""
  setting = known().get(key)
  if setting and setting.duration:
    return duration(value) or value
  return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def wrong_type(key: str, value: Any) -> UserError:
  """An error for a value of a type that the setting does not have."""
  setting = known()[key]
  names = " or ".join(kind.__name__ for kind in setting.kinds)
  what = values.TELL[setting.kinds[0]]
  if setting.duration:
    what = "a duration, such as 100 or '8 epochs'"
  return UserError(
    f"config.{key}={value!r} is of type {type(value).__name__}, not {names}; it must be {what}"
  )


def read_value(key: str, text: str) -> Any:
  """The value of a setting from the text that stands for it on a command line.

  Raises:
    UserError: there is no such setting, or the text is no value of its type.
  """
  if (setting := known().get(key)) is None:
    raise unknown_key(key)
  if setting.duration:
    return int(text) if text.isdecimal() else text
  kind = setting.kinds[0]
  try:
    return values.read(kind, text)
  except ValueError as error:
    raise UserError(f"config.{key}={text!r} is not of type {kind.__name__}; it {error}") from None


def check(config: ml_collections.ConfigDict) -> None:
  """Raises a UserError unless `config` has the keys of the default tree, with their types.

  The settings of a registered part that is not chosen may be missing, as it may have been
  registered later than the config was made.
  """
  given = leaves(config)
  _check(known(), given)
  group_size, batch_size = given["model.norm.group_size"], given["data.batch_size"]
  if group_size and batch_size % group_size:
    raise UserError(
      f"config.model.norm.group_size={group_size} must divide config.data.batch_size={batch_size}"
    )


def _check(settings: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
  """Raises a UserError unless the values fit the rows of the table one by one."""
  for key in given.keys() - settings.keys():
    raise unknown_key(key)
  for key, setting in settings.items():
    if key not in given and (key in SETTINGS or not idle(setting, given)):
      raise UserError(f"config.{key} is missing; its default is {setting.default!r}")
  for key, value in given.items():
    setting = settings[key]
    fits = isinstance(value, setting.kinds) and (
      bool in setting.kinds or not isinstance(value, bool)
    )
    if not fits and not (value is None and setting.optional):
      raise wrong_type(key, value)
    if isinstance(value, float) and not math.isfinite(value):
      raise UserError(f"config.{key}={value} is not a finite number")
    for limit in setting.checks:
      if value is not None and not limit.holds(value):
        raise UserError(f"config.{key}={value} must be {limit.text}")


def unknown_key(key: str) -> UserError:
  """An error for a key that the tree lacks, with the nearest one that it has."""
  for name in (key, key.rsplit(".", 1)[-1], key.split(".", 1)[0]):
    if name in ABSENT:
      return UserError(f"config.{key} is unknown: {ABSENT[name]}")
  there = sorted(known())
  lasts = {name.rsplit(".", 1)[-1]: name for name in reversed(there)}
  initials = {"".join(part[0] for part in last.split("_")): last for last in reversed(lasts)}
  last = key.rsplit(".", 1)[-1]
  last = initials.get(last, last)  # lr
  near = difflib.get_close_matches(key, there, n=1)
  if last in lasts or not near:
    near = [lasts[name] for name in difflib.get_close_matches(last, lasts, n=1)]
  hint = f"; did you mean config.{near[0]}?" if near else f"; known: {', '.join(there)}"
  return UserError(f"config.{key} is unknown{hint}")


def load_file(spec: str) -> ml_collections.ConfigDict:
  """The config of a file, as `--config` takes it: `path.py` or `path.py:argument`.

  The path is looked up from the current folder; one such as `configs/resnet.py` that is not there
  is that of the package.

  Raises:
    UserError: there is no such file, or it has no `get_config`.
  """
  return files.call(spec, "get_config")[1]


def to_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The tree as plain dictionaries, as config.json keeps it.

  Settings of registered parts that are not chosen are left out; what a user's file registered of
  what is chosen stands with the file under `FILES`.
  """
  tree = json.loads(config.to_json())
  for key in unread(config) - SETTINGS.keys():
    group, name, last = key.split(".")
    del tree[group][name][last]
    if not tree[group][name]:
      del tree[group][name]
  entries = parts.of_users(config)
  return tree | ({FILES: entries} if entries else {})


def from_json(tree: dict[str, Any]) -> ml_collections.ConfigDict:
  """The inverse of `to_json`, checked. What it needs of users' files is registered from them.

  Raises:
    UserError: it is no config of this version, or a user's file is not as it was.
  """
  with _of_this_version():
    parts.load(tree.get(FILES, []))
    tree = {key: value for key, value in tree.items() if key != FILES}
    for key in leaves(tree).keys() - known().keys():
      if _of_a_part(key):
        raise UserError(f"config.{key} belongs to a part that is not registered here")
    config = default_config()
    config.update(tree)
  check(config)
  return config


def stored(tree: dict[str, Any]) -> ml_collections.ConfigDict:
  """The config of `to_json` for who only looks at it: registered parts stand as they were stored,
  and the files that registered them need not be there.

  Raises:
    UserError: it is no config of this version.
  """
  with _of_this_version():
    flat = leaves({key: value for key, value in tree.items() if key != FILES})
    own = {key: value for key, value in flat.items() if not _of_a_part(key)}
    config = _tree(SETTINGS)
    config.update_from_flattened_dict(own)
  _check(SETTINGS, leaves(config))
  with config.unlocked():
    for key in flat.keys() - own.keys():
      group, name, last = key.split(".")
      config[group].update({name: {last: flat[key]}})
  return config


@contextlib.contextmanager
def _of_this_version() -> Iterator[None]:
  try:
    yield
  except (AttributeError, KeyError, TypeError) as error:
    raise UserError(f"not a config of this version: {str(error).splitlines()[0][:200]}") from None


def _of_a_part(key: str) -> bool:
  """Whether a key is that of a registered part's setting, here or where it was stored."""
  groups = {row.rpartition(".")[0] for row in SETTINGS}
  group = key.rpartition(".")[0]
  return key.count(".") == 2 and group not in groups and group.partition(".")[0] in groups


def refuse_value(word: str) -> None:
  """Raises a UserError where a word in a data set's place is the value of a setting."""
  keys = [key for key in having("word") if word in choices(key)]
  if word.isdecimal():
    keys = ["model.depth"]
  if keys:
    key = keys[0].removeprefix("model.")
    raise UserError(f"{word!r} is no data set's name; did you mean {key}={word}?")


def parse_arguments(text: str) -> dict[str, Any]:
  """A config file's argument, `"depth=56,digits"`, as `{"depth": 56, "data": "digits"}`.

  Pairs name keys of `config.model`; a word without `=` is the data set's name.

  Raises:
    UserError: an unknown key, one given twice or without a value, or a value of the wrong type.
  """
  model = default_config().model
  given: dict[str, Any] = {}
  for part in filter(None, (part.strip() for part in text.split(","))):
    key, equals, value = part.partition("=")
    if not equals and key not in model:
      key, value = "data", key
      refuse_value(value)
    if key in given:
      raise UserError(f"{key} is given twice in {text!r}")
    if key == "data":
      given[key] = value
      continue
    if "." in key and not {key, f"model.{key}"} & known().keys():
      raise unknown_key(key)
    if "." in key:
      raise UserError(
        f"{part!r} cannot stand behind the colon; settings with a dot are flags, such as "
        "--config.optim.momentum=0.9"
      )
    if not equals:
      raise UserError(f"{key!r} has no value in {text!r}; write {key}={model[key]}")
    if key not in model or isinstance(model[key], ml_collections.ConfigDict):
      raise unknown_key(f"model.{key}")
    given[key] = read_value(f"model.{key}", value)
  return given
