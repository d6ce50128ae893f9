"""A page as one HTML file that needs nothing else."""

import html
import itertools
import re

from resnet_jax.report.page import Block, Cell, Code, Column, Figure, Row, Section, Table, Text

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem 1.25rem 3rem; background: #fff;
  color: #1a1a1a; font: 16px/1.5 "Helvetica Neue", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .5rem; padding-top: .6rem; border-top: 1px solid #ccc; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; }
.box { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; border-bottom: 2px solid #1a1a1a; }
caption { text-align: left; font-size: .875rem; padding-bottom: .5rem; }
figcaption, caption { color: #444; }
caption span, figcaption span { display: block; max-width: min(46rem, calc(100vw - 2.5rem)); }
th { font-weight: 600; text-align: left; vertical-align: bottom; padding: .2rem .7rem; }
thead tr:first-child th { border-top: 2px solid #1a1a1a; }
thead tr:last-child th { border-bottom: 1px solid #1a1a1a; }
thead th.over { white-space: nowrap; border-bottom: 1px solid #999; text-align: center; }
td, tbody th { padding: .3rem .7rem; vertical-align: top; }
tbody th { font-weight: 400; white-space: nowrap; background: #fff; }
@media screen { tbody th { position: sticky; left: 0; } }
td.words { min-width: 8rem; }
tbody tr + tr > * { border-top: 1px solid #e6e6e6; }
.number { text-align: right; white-space: nowrap; }
td small { display: block; color: #555; white-space: normal; }
td.number small { white-space: nowrap; }
th small { display: block; color: #555; white-space: normal; max-width: 15rem; }
.glyph { display: inline-block; width: 1.4em; }
figure { margin: 1.5rem 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .875rem; margin-top: .25rem; }
code, pre { font: .8125rem/1.45 ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .6rem .8rem;
  margin: .75rem 0; border-radius: 4px; }
@page { size: A4; margin: 15mm 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  table, figure, tr, pre { break-inside: avoid; }
  .box { overflow: visible; }
  table { font-size: 8pt; width: 100%; }
  th, td, tbody th { padding: .15rem .35rem; min-width: 0; }
  code { font-size: 7.5pt; overflow-wrap: anywhere; }
  caption span { max-width: none; }
  figure svg { min-width: 0 !important; max-height: 235mm; }
}
"""


def render(page: Section) -> str:
  """The whole file."""
  parts = [
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    # The page needs nothing else, and nothing in it could ask for it.
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">",
    '<link rel="icon" href="data:,">',  # or a browser asks for one
    f"<title>{escape(page.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
    _section(page, 1),
    "</main>\n</body>\n</html>\n",
  ]
  return "\n".join(parts)


def escape(text: str) -> str:
  """Text for HTML; a percent sign stays with its number."""
  return html.escape(text).replace(" %", "\u00a0%")


def _section(section: Section, level: int) -> str:
  parts = [f"<h{level}>{escape(section.title)}</h{level}>"]
  parts += [_block(block, level) for block in section.blocks]
  if level > 1:
    name = f' id="{escape(section.id)}"' if section.id else ""
    parts = [f"<section{name}>", *parts, "</section>"]
  return "\n".join(parts)


def _block(block: Block, level: int) -> str:
  match block:
    case Section():
      return _section(block, level + 1)
    case Text(text):
      return f"<p>{escape(text)}</p>"
    case Code(text):
      return f"<pre>{escape(text)}</pre>"
    case Figure():
      caption = f"<figcaption><span>{escape(block.caption)}</span></figcaption>"
      return f'<figure>\n<div class="box" tabindex="0">{_svg(block)}</div>\n{caption}\n</figure>'
    case Table():
      return _table(block.caption, block.filled())


def _svg(figure: Figure) -> str:
  """The picture as an element, its ids made the page's only ones."""
  text = figure.svg.decode()
  text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
  text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{figure.name}-", text)
  # No wider than drawn, and on a phone no narrower than can be read: its box scrolls.
  width = re.search(r'<svg[^>]* width="([\d.]+)pt"', text)
  assert width
  size = f"max-width:{width[1]}pt;min-width:min({width[1]}pt,46rem)"
  label = f'<svg role="img" aria-label="{escape(figure.alt)}" style="{size}"'
  return text.replace("<svg", label, 1).strip()


def _table(caption: str, rows: list[Row]) -> str:
  body = "\n".join(f"<tr>{_cells(row)}</tr>" for row in rows)
  return (
    f'<div class="box" tabindex="0"><table>\n<caption><span>{escape(caption)}</span></caption>\n'
    f"<thead>{_head([column for column, _ in rows[0]])}</thead>\n"
    f"<tbody>\n{body}\n</tbody></table></div>"
  )


def _head(columns: list[Column]) -> str:
  """One row of headings, or two where some stand under a common one."""
  two = any(column.over for column in columns)
  upper, lower = [], []
  for over, group in itertools.groupby(columns, key=lambda column: column.over):
    span = " rowspan=2" if two and not over else ""
    cells = [
      f'<th scope="col" class="{_kind(column)}"{span}>{escape(column.name)}</th>'
      for column in group
    ]
    if two and over:
      upper.append(f'<th class="over" scope="colgroup" colspan={len(cells)}>{escape(over)}</th>')
      lower += cells
    else:
      upper += cells
  return "".join(f"<tr>{''.join(row)}</tr>" for row in (upper, lower) if row)


def _cells(row: Row) -> str:
  """The first names the row."""
  (_, name), *rest = row
  cells = [f'<td class="{_kind(column)}">{_cell(cell)}</td>' for column, cell in rest]
  return "".join([f'<th scope="row">{_cell(name)}</th>', *cells])


def _kind(column: Column) -> str:
  return "number" if column.numeric else "words"


def _cell(cell: Cell) -> str:
  text = escape(cell.text)
  if cell.code:
    text = f"<code>{text}</code>"
  if cell.strong:
    text = f"<strong>{text}</strong>"
  if cell.note:
    text += f"<small>{escape(cell.note)}</small>"
  if cell.glyph:
    style = f'class="glyph" style="color:{cell.color}" aria-hidden="true"'
    text = f"<span {style}>{cell.glyph}</span>{text}"
  return text
