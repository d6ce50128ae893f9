"""The files of a report, each written whole or not at all."""

import csv
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resnet_jax.report import facts, html, markdown
from resnet_jax.report.build import build
from resnet_jax.report.page import Figure, Section
from resnet_jax.report.read import ReportedSweep
from resnet_jax.runs import whole


def write(sweeps: Sequence[ReportedSweep], folder: pathlib.Path) -> pathlib.Path:
  """Writes the report and returns the page. Nothing is written before all of it is made."""
  page = build(sweeps)
  lines = [(sweep, group, row) for sweep in sweeps for group in sweep.groups for row in group.rows]
  rows = [
    ({"sweep": sweep.name, "group": group.name, "row": row.name}, row, group.base)
    for sweep, group, row in lines
  ]
  runs = [(names | {"seed": run.seed}, row, run) for names, row, _ in rows for run in row.runs]
  tables = {
    "numbers.csv": [names | facts.number_line(row, run) for names, row, run in runs],
    "rows.csv": [names | facts.row_line(row, base) for names, row, base in rows],
    "timing.csv": [names | facts.timing_line(run) for names, _, run in runs],
  }
  return save(page, tables, folder)


def save(
  page: Section, tables: Mapping[str, Sequence[dict[str, Any]]], folder: pathlib.Path
) -> pathlib.Path:
  """Writes a page, its figures, and tables as CSV by their names; returns the HTML file."""
  files = {f"figures/{figure.name}.svg": figure.svg for figure in _figures(page)}
  files |= {f"figures/{figure.name}.png": figure.png for figure in _figures(page)}
  files |= {name: _csv(lines) for name, lines in tables.items()}
  files |= {
    "report.md": _bytes(markdown.render(page)),
    "index.html": _bytes(html.render(page)),
  }
  for name, content in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with whole.written(folder / name) as file:
      file.write(content)
  return folder / "index.html"


def _figures(section: Section) -> Iterator[Figure]:
  for block in section.blocks:
    if isinstance(block, Figure):
      yield block
    elif isinstance(block, Section):
      yield from _figures(block)


def _csv(lines: Sequence[dict[str, Any]]) -> bytes:
  names = list(dict.fromkeys(name for line in lines for name in line))
  text = io.StringIO()
  writer = csv.DictWriter(text, names, lineterminator="\n")
  writer.writeheader()
  writer.writerows(lines)
  return _bytes(text.getvalue())


def _bytes(text: str) -> bytes:
  """UTF-8, with escapes for what it has no bytes for: parts of a file name that is not UTF-8."""
  return text.encode("utf-8", "backslashreplace")
