"""The tree of settings of one run, its defaults, and the check that every run starts with.

A config file edits `default_config()`; nothing outside that tree is accepted. This module
imports nothing of JAX, so that config files stay cheap to read.
"""

import difflib
import functools
import json
import math
from collections.abc import Iterable
from typing import Any

import ml_collections
from ml_collections import config_dict

from resnet_jax.config import files, values
from resnet_jax.config.unread import AFTER_ADD, DROPS, SHORTCUTS, UNITS, UNREAD
from resnet_jax.config.values import ABSENT, DURATIONS, duration
from resnet_jax.config.values import steps as steps
from resnet_jax.errors import UserError

# Settings whose default is None: the data set's own value is used.
_OPTIONAL = {"data.pad": int, "data.flip": bool, "data.workers": int}
_NOT_NEGATIVE = (
  "seed",
  "data.color_jitter",
  "data.lighting",
  "data.pad",
  "data.workers",
  "model.norm.group_size",
  "optim.drop_factor",
  "optim.momentum",
  "optim.warmup_learning_rate",
  "optim.weight_decay",
)

# `data.normalize` of the training set's own; other kinds are constants.
COMPUTED = ("pixel_mean", "channel_mean_std")


def default_config() -> ml_collections.ConfigDict:
  """The whole tree with its defaults: ResNet-110 on CIFAR-10 as in the papers."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.model = _model()
  config.data = _data()
  config.optim = _optim()
  config.train = _train()

  config.finetune = ml_collections.ConfigDict()
  config.finetune.weights = ""  # a run's folder or a weights file to begin from; "": from scratch
  config.finetune.frozen = ""  # parts that stay as they are, as "stem, stage1"
  return config.lock()


def _model() -> ml_collections.ConfigDict:
  """The network."""
  group = ml_collections.ConfigDict()
  group.family = "cifar"  # the stem and the stages: cifar, imagenet
  group.depth = 110
  group.unit = "basic"  # basic, bottleneck, single
  group.shortcut = "identity"  # h(x): see models/shortcuts.py
  group.shortcut_scale = 1.0  # shortcut=scaling
  group.residual_scale = 1.0  # shortcut=scaling: the factor on F
  group.gate_bias = -6.0  # shortcut=exclusive_gating, shortcut_gating
  group.dropout_rate = 0.5  # shortcut=dropout
  group.after_add = "original"  # f and the order in F: see models/orders.py
  group.residual = "always"  # whether F is computed: always, or as a part of your own decides
  group.projection = "A"  # where the shape changes: A, B, C
  group.stride_on = "1x1"  # the bottleneck's convolution that strides: 1x1, 3x3
  group.output_stride = 32  # of an imagenet net's last map: 32, or 16 or 8 by dilation
  group.pool_padding = "both"  # of the imagenet stem's pool: both sides, or the end (Caffe)
  group.init = "msra"  # msra, msra_fan_out, xavier, pytorch
  group.dtype = "float32"  # of the computation; parameters are float32
  group.remat = "norm"  # what the backward pass computes again: none, norm, unit
  group.unroll = 1  # units in one turn of a stage's loop
  group.norm = ml_collections.ConfigDict()
  group.norm.decay = 0.9
  group.norm.epsilon = 1e-5
  group.norm.group_size = 0  # examples that share statistics; 0: the whole batch
  group.norm.frozen = False  # every BN stays as it is while the weights train
  return group


def _data() -> ml_collections.ConfigDict:
  """The data set, and how it is augmented."""
  group = ml_collections.ConfigDict()
  # digits, any prepared TFDS image-classification set, folder or list (photographs on disk)
  group.name = "cifar10"
  group.dir = ""  # of the photographs, or of the TFDS sets (TFDS_DATA_DIR where it is empty)
  group.train_split = "train"
  group.test_split = "test"
  group.batch_size = 128
  group.pad = config_dict.placeholder(int)  # pixels; None: the data set's own
  group.flip = config_dict.placeholder(bool)  # None: the data set's own
  # pixel_mean, channel_mean_std, imagenet, caffe, or numbers: 0.49,0.48,0.45/0.25,0.24,0.26
  group.normalize = "pixel_mean"
  # Of photographs, which differ in size: how training crops them, and what the crop measures.
  group.image_size = 224
  group.crop = "scale_aspect"  # scale, scale_aspect
  group.color_jitter = 0.0  # most relative change of brightness, contrast and saturation
  group.lighting = 0.0  # deviation of the PCA noise, in shares of the eigenvalues
  group.workers = config_dict.placeholder(int)  # processes that decode; None: one a core
  return group


def _optim() -> ml_collections.ConfigDict:
  """The optimizer and its schedule."""
  # A duration may be a number or a text, so ml_collections must not insist on the default's
  # type in this group and the next; `check` does.
  group = ml_collections.ConfigDict(type_safe=False)
  group.learning_rate = 0.1
  group.momentum = 0.9
  group.nesterov = False
  group.weight_decay = 1e-4  # on every parameter, as in the papers
  group.schedule = "step"  # step, cosine, constant
  group.drop_at = "50%, 75%"  # schedule=step: where the rate is multiplied ...
  group.drop_factor = 0.1  # ... by this
  group.warmup = "0 steps"
  group.warmup_learning_rate = 0.01  # while warming up ([R] 4.2) ...
  group.warmup_schedule = "constant"  # ... or where it begins to rise: constant, linear
  return group


def _train() -> ml_collections.ConfigDict:
  """How long, and how often what is measured."""
  group = ml_collections.ConfigDict(type_safe=False)
  group.steps = "64000 steps"
  group.log_every = "100 steps"
  group.eval_every = "1000 steps"
  group.checkpoint_every = "1000 steps"
  return group


def leaves(config: ml_collections.ConfigDict, prefix: str = "") -> dict[str, Any]:
  """`{"model.depth": 110, ...}`: the tree as one level of dotted keys."""
  flat: dict[str, Any] = {}
  for key in sorted(config.keys()):
    value = config[key]
    if isinstance(value, ml_collections.ConfigDict):
      flat |= leaves(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


def unread(config: ml_collections.ConfigDict) -> set[str]:
  """The keys that nothing reads under this config's other settings, whatever their values.

  The training is the same, bit for bit, with any other value of them: `{"optim.drop_at",
  "optim.drop_factor"}` under a cosine. A shortcut of one's own is taken to read all of the model's.
  """
  found = set()
  for key, (by, idle, _) in UNREAD.items():
    value = config[by]
    if by in DURATIONS and (parsed := duration(value)):
      value = parsed[0]
    if value in idle:
      found.add(key)
  if config["model.shortcut"] not in SHORTCUTS:
    found = {key for key in found if not key.startswith("model.")}
  return found


def reset(config: ml_collections.ConfigDict, keys: Iterable[str]) -> None:
  """Sets keys to their defaults."""
  defaults = leaves(default_config())
  config.update_from_flattened_dict({key: defaults[key] for key in keys})


def refuse_unread(config: ml_collections.ConfigDict) -> None:
  """Raises a UserError where a setting is not at its default and nothing reads it.

  For what is given to a run that is new; a run that has begun may go on with it.
  """
  defaults = leaves(default_config())
  for key in sorted(unread(config)):
    by, _, reader = UNREAD[key]
    recipes = DROPS.values() if key == "optim.drop_at" else ()
    if reader and config[key] not in (defaults[key], *recipes):
      raise UserError(
        f"config.{key}={config[key]!r} does nothing with config.{by}={config[by]!r}; it belongs to "
        f"{reader}; leave it at {defaults[key]!r}"
      )


def in_words(config: ml_collections.ConfigDict) -> str:
  """The net and its data in a few words: `cifar basic-20, identity, original, digits`."""
  model = config.model
  net = f"{model.family} {model.unit}-{model.depth}, {model.shortcut}, {model.after_add}"
  return f"{net}, {config.data.name}"


def differences(
  before: ml_collections.ConfigDict, after: ml_collections.ConfigDict
) -> dict[str, tuple[Any, Any]]:
  """The keys whose values differ, with both, but for those that neither config reads.

  A duration of "100", as flags give it, is 100.
  """
  old, new, idle = leaves(before), leaves(after), unread(before) & unread(after)

  def same(key: str) -> bool:
    if key in DURATIONS and (parsed := duration(old[key])):
      return parsed == duration(new[key])
    return old[key] == new[key]

  return {key: (old[key], new[key]) for key in old if key not in idle and not same(key)}


@functools.cache
def kinds_of(key: str) -> tuple[type, ...]:
  """The types that the values of a setting may have; of one that may be None, the others."""
  if key in DURATIONS:
    return (int, str)
  kind: type = _OPTIONAL.get(key) or type(leaves(default_config())[key])
  return (float, int) if kind is float else (kind,)


def wrong_type(key: str, value: Any) -> UserError:
  """An error for a value of a type that the setting does not have."""
  kinds = kinds_of(key)
  names = " or ".join(kind.__name__ for kind in kinds)
  what = "a duration, such as 100 or '8 epochs'" if key in DURATIONS else values.TELL[kinds[0]]
  return UserError(
    f"config.{key}={value!r} is of type {type(value).__name__}, not {names}; it must be {what}"
  )


def read_value(key: str, text: str) -> Any:
  """The value of a setting from the text that stands for it on a command line.

  Raises:
    UserError: there is no such setting, or the text is no value of its type.
  """
  if key not in leaves(default_config()):
    raise unknown_key(key)
  if key in DURATIONS:
    return int(text) if text.isdecimal() else text
  kind = kinds_of(key)[0]
  try:
    return values.read(kind, text)
  except ValueError as error:
    raise UserError(f"config.{key}={text!r} is not of type {kind.__name__}; it {error}") from None


def check(config: ml_collections.ConfigDict) -> None:
  """Raises a UserError unless `config` has the keys of the default tree, with their types."""
  defaults, given = leaves(default_config()), leaves(config)
  for key in given.keys() - defaults.keys():
    raise unknown_key(key)
  for key in defaults.keys() - given.keys():
    raise UserError(f"config.{key} is missing; its default is {defaults[key]!r}")
  for key, value in given.items():
    kinds = kinds_of(key)
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not fits and not (value is None and key in _OPTIONAL):
      raise wrong_type(key, value)
    if isinstance(value, float) and not math.isfinite(value):
      raise UserError(f"config.{key}={value} is not a finite number")
  for key in ("data.batch_size", "data.image_size", "optim.learning_rate"):
    if given[key] <= 0:
      raise UserError(f"config.{key}={given[key]} must be above 0")
  for key in _NOT_NEGATIVE:
    if (given[key] or 0) < 0:
      raise UserError(f"config.{key}={given[key]} must be 0 or more")
  if given["seed"] >= 2**32:
    raise UserError(f"config.seed={given['seed']} must be below 2**32")
  group_size, batch_size = given["model.norm.group_size"], given["data.batch_size"]
  if group_size and batch_size % group_size:
    raise UserError(
      f"config.model.norm.group_size={group_size} must divide config.data.batch_size={batch_size}"
    )


def unknown_key(key: str) -> UserError:
  """An error for a key that the tree lacks, with the nearest one that it has."""
  for name in (key, key.rsplit(".", 1)[-1], key.split(".", 1)[0]):
    if name in ABSENT:
      return UserError(f"config.{key} is unknown: {ABSENT[name]}")
  known = leaves(default_config())
  lasts = {name.rsplit(".", 1)[-1]: name for name in known}
  initials = {"".join(part[0] for part in last.split("_")): last for last in lasts}
  last = key.rsplit(".", 1)[-1]
  last = initials.get(last, last)  # lr
  near = (
    [lasts[last]]
    if last in lasts
    else difflib.get_close_matches(key, known, n=1)
    or [lasts[part] for part in difflib.get_close_matches(last, lasts, n=1)]
  )
  hint = f"; did you mean config.{near[0]}?" if near else f"; known: {', '.join(known)}"
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
  """The tree as plain dictionaries."""
  return json.loads(config.to_json())


def from_json(tree: dict[str, Any]) -> ml_collections.ConfigDict:
  """The inverse of `to_json`, checked."""
  config = default_config()
  try:
    config.update(tree)
  except (AttributeError, KeyError, TypeError) as error:
    raise UserError(f"not a config of this version: {str(error).splitlines()[0][:200]}") from None
  check(config)
  return config


def refuse_value(word: str) -> None:
  """Raises a UserError where a word in a data set's place is the value of a setting."""
  settings = {"shortcut": SHORTCUTS, "unit": UNITS, "after_add": AFTER_ADD, "projection": "ABC"}
  keys = [key for key, known in settings.items() if word in known and word]
  if word.isdecimal():
    keys = ["depth"]
  if keys:
    raise UserError(f"{word!r} is no data set's name; did you mean {keys[0]}={word}?")


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
    if "." in key and not {key, f"model.{key}"} & leaves(default_config()).keys():
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
