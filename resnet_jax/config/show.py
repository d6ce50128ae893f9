"""The settings as a person reads them: in --help, and of a config in --mode=describe --settings."""

import textwrap
from typing import Any

import ml_collections

from resnet_jax.config import known, leaves, unread
from resnet_jax.config.parts import choices
from resnet_jax.config.settings import SETTINGS

WIDTH = 80  # columns, as those of the flags above them


def as_help() -> str:
  """Every setting with its help and its default, in the form in which absl lists flags."""
  lines = []
  for key, setting in known().items():
    names, belongs = choices(key) if key in SETTINGS else (), setting.belongs
    form = f"<{'|'.join(names)}>: " if names else ""
    reader = f"; belongs to {belongs.text}" if belongs and belongs.text else ""
    lines += _wrap(f"--config.{key}: {form}{setting.help}")
    lines += _wrap(f"(default: {setting.default!r}{reader})", 4)
  return "\n".join(lines)


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
    remark = f"  ({'; '.join(remarks)})" if remarks else ""
    lines += [f"{key} = {about['value']!r}{remark}", *_wrap(about["help"], 4)]
  return "\n".join(lines)


def _wrap(text: str, indent: int = 2) -> list[str]:
  return textwrap.wrap(
    text, WIDTH, initial_indent=" " * indent, subsequent_indent="    ", break_on_hyphens=False
  )
