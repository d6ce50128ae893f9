"""A page as Markdown, its figures as files beside it."""

from resnet_jax.report.page import Block, Cell, Code, Figure, Row, Section, Table, Text


def render(page: Section) -> str:
  """The whole file."""
  return _section(page, 1) + "\n"


def _section(section: Section, level: int) -> str:
  parts = [f"{'#' * level} {_escape(section.title)}"]
  parts += [_block(block, level) for block in section.blocks]
  if section.id:  # so that a machine finds where it begins and ends
    parts = [f"<!-- {section.id} -->", *parts, f"<!-- end of {section.id} -->"]
  return "\n\n".join(parts)


def _block(block: Block, level: int) -> str:
  match block:
    case Section():
      return _section(block, level + 1)
    case Text(text):
      return _escape(text)
    case Code(text):
      return f"```bash\n{text}\n```"
    case Figure():
      return f"![{_escape(block.alt)}](figures/{block.name}.svg)\n\n{_escape(block.caption)}"
    case Table():
      return _table(block.caption, block.filled())


def _table(caption: str, rows: list[Row]) -> str:
  columns = [column for column, _ in rows[0]]
  lines = [[_escape(f"{c.over}: {c.name}" if c.over else c.name) for c in columns]]
  lines.append(["---:" if column.numeric else ":---" for column in columns])
  lines += [[_cell(cell) for _, cell in row] for row in rows]
  return "\n".join([f"{_escape(caption)}\n", *(f"| {' | '.join(line)} |" for line in lines)])


def _cell(cell: Cell) -> str:
  if cell.code and cell.text:
    return f"`{cell.text.replace('|', chr(92) + '|')}`"
  text = _escape(cell.text)
  if cell.strong and text:
    text = f"**{text}**"
  return " ".join(filter(None, (text, cell.note and f"({_escape(cell.note)})")))


def _escape(text: str) -> str:
  for character in "\\|*_<>[]`":
    text = text.replace(character, "\\" + character)
  return " ".join(text.split())
