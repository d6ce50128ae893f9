"""What a page is made of. `html` and `markdown` render the same page."""

import dataclasses
from collections.abc import Sequence
from typing import Union


@dataclasses.dataclass(frozen=True)
class Cell:
  """Of a table: text, and what is small print beside it."""

  text: str
  note: str = ""
  color: str = ""  # of a glyph before it
  glyph: str = ""
  strong: bool = False
  code: bool = False


@dataclasses.dataclass(frozen=True)
class Column:
  """A heading, under one that neighbouring columns may share."""

  name: str
  over: str = ""
  numeric: bool = True

  @property
  def title(self) -> str:
    """Both headings in one line."""
    return ": ".join(filter(None, (self.over, self.name)))


@dataclasses.dataclass(frozen=True)
class Table:
  """Columns that are empty in every row are left out."""

  caption: str
  columns: Sequence[Column]
  rows: Sequence[Sequence[Cell]]

  def filled(self) -> "Table":
    """Without the empty columns."""
    kept = [i for i in range(len(self.columns)) if any(row[i].text for row in self.rows)]
    rows = [[row[i] for i in kept] for row in self.rows]
    return Table(self.caption, [self.columns[i] for i in kept], rows)


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture under figures/, as SVG for the page and PNG for slides."""

  name: str
  caption: str
  alt: str
  svg: bytes
  png: bytes


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  text: str


@dataclasses.dataclass(frozen=True)
class Code:
  """A command to paste."""

  text: str


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading and what stands under it."""

  title: str
  blocks: Sequence["Block"]
  id: str = ""


Block = Union[Table, Figure, Text, Code, Section]  # noqa: UP007 (names a class further up)
