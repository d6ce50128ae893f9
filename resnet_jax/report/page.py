"""What a page is made of. `html` and `markdown` render the same page."""

from collections.abc import Sequence
from typing import NamedTuple, Union


class Cell(NamedTuple):
  """Of a table: text, and what is small print beside it."""

  text: str
  note: str = ""
  color: str = ""  # of a glyph before it
  glyph: str = ""
  strong: bool = False
  code: bool = False


class Column(NamedTuple):
  """A heading, under one that neighbouring columns may share."""

  name: str
  over: str = ""
  numeric: bool = True


Row = Sequence[tuple[Column, Cell]]


class Table(NamedTuple):
  """Rows of the same columns; those that are empty in every row are left out."""

  caption: str
  rows: Sequence[Row]

  def filled(self) -> list[Row]:
    """The rows without the empty columns; the first has the headings."""
    columns = zip(*self.rows, strict=True)
    kept = [column for column in columns if any(cell.text for _, cell in column)]
    return list(zip(*kept, strict=True))


class Figure(NamedTuple):
  """A picture under figures/, as SVG for the page and PNG for slides."""

  name: str
  caption: str
  alt: str
  svg: bytes
  png: bytes


class Text(NamedTuple):
  """A paragraph."""

  text: str


class Code(NamedTuple):
  """A command to paste."""

  text: str


class Section(NamedTuple):
  """A heading and what stands under it."""

  title: str
  blocks: Sequence["Block"]
  id: str = ""


Block = Union[Table, Figure, Text, Code, Section]  # noqa: UP007 (names a class further up)
