"""The settings as a person reads them: in --help, and of a config in --mode=describe --settings."""

import textwrap
from typing import Any

import ml_collections

from resnet_jax.config import known, leaves, unread
from resnet_jax.config.parts import choices
from resnet_jax.config.setting import Setting
from resnet_jax.config.settings import SETTINGS

WIDTH = 80  # columns, as those of the flags above them


def as_help() -> str:
  """Every setting with its help and its default, in the form in which absl lists flags."""
  return "\n".join(_flag(key, setting) for key, setting in known().items())


def _flag(key: str, setting: Setting) -> str:
  names = choices(key) if key in SETTINGS else ()
  form = f"<{'|'.join(names)}>: " if names else ""
  return "\n".join([*_wrap(f"--config.{key}: {form}{setting.help}"), *_wrap(_default(setting), 4)])


def _default(setting: Setting) -> str:
  belongs = setting.belongs
  reader = f"; belongs to {belongs.text}" if belongs and belongs.text else ""
  return f"(default: {setting.default!r}{reader})"


def to_json(config: ml_collections.ConfigDict) -> dict[str, dict[str, Any]]:
  """Of each setting its value, its default, its help, and whether anything reads it."""
  values, idle = leaves(config), unread(config)
  return {
    key: {
      "value": values[key],
      "default": setting.default,
      "help": setting.help,
      "read": key not in idle,
    }
    for key, setting in known().items()
    if key in values
  }


def to_text(config: ml_collections.ConfigDict) -> str:
  """A config's values with their help, and with the defaults that they are not at."""
  lines = []
  for key, about in to_json(config).items():
    remarks = [] if about["read"] else ["not read"]
    if about["value"] != about["default"]:
      remarks.append(f"default: {about['default']!r}")
    lines += [f"{key} = {about['value']!r}" + f"  ({'; '.join(remarks)})" * bool(remarks)]
    lines += _wrap(about["help"], 4)
  return "\n".join(lines)


def _wrap(text: str, indent: int = 2) -> list[str]:
  return textwrap.wrap(
    text, WIDTH, initial_indent=" " * indent, subsequent_indent="    ", break_on_hyphens=False
  )
