"""Sphinx: MyST pages, the API by autodoc, and the settings from their table."""

import pathlib

from resnet_jax.config import parts
from resnet_jax.config.settings import SETTINGS, reader

project = "resnet_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
html_theme = "alabaster"
html_theme_options = {"description": "Very deep residual networks in JAX", "page_width": "1100px"}
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them
nitpicky = False


def settings_page() -> str:
  """The table of settings as a page, a section for each group."""
  lines = [
    "# Settings",
    "",
    "Every setting is a flag of `resnet_jax.main` and `resnet_jax.sweep`, such as",
    "`--config.model.depth=56`. A resumed run may change what is marked *free*. Parts of your own",
    "add settings: see [Parts of your own](parts.md). This page is made from the table in",
    "`resnet_jax/config/settings.py`.",
  ]
  group = None
  for key, setting in SETTINGS.items():
    top = key.partition(".")[0]
    if top != group:
      group = top
      lines += ["", f"## {top}", ""]
      lines += ["| setting | default | what it is | read by |", "|---|---|---|---|"]
    names = ", ".join(f"`{name}`" for name in parts.choices(key))
    text = setting.help.replace("|", "\\|") + (f" One of {names}." if names else "")
    if setting.belongs and setting.belongs.text:
      text += f" Belongs to {setting.belongs.text}."
    if setting.resume != "fixed":
      text += " *free*"
    lines.append(f"| `{key}` | `{setting.default!r}` | {text} | `{reader(key)}` |")
  return "\n".join(lines) + "\n"


def setup(app) -> None:
  """Writes the page before Sphinx looks for pages."""
  page = pathlib.Path(app.srcdir) / "settings.md"
  text = settings_page()
  if not page.is_file() or page.read_text() != text:
    page.write_text(text)
