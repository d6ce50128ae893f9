"""Lines of code: without blank lines, comments and docstrings.

    python benchmarks/lines.py                   # the package, room by room
    python benchmarks/lines.py resnet_jax tests  # of any folders

Also names every function of more than 50 lines and every file of more than 400, docstrings and
comments included; exit code 1 if the package has one.
"""

import ast
import io
import pathlib
import sys
import tokenize
from collections import Counter

ROOT = pathlib.Path(__file__).resolve().parents[1]
LONGEST_FUNCTION, LONGEST_FILE = 50, 400
NO_CODE = {
  tokenize.COMMENT,
  tokenize.NL,
  tokenize.NEWLINE,
  tokenize.INDENT,
  tokenize.DEDENT,
  tokenize.ENDMARKER,
}


def docstrings(tree: ast.Module) -> set[int]:
  """The lines of all docstrings."""
  found = set[int]()
  for node in ast.walk(tree):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
      first = node.body[0]
      found.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
  return found


def code(text: str) -> set[int]:
  """The lines that hold code."""
  found = set[int]()
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type not in NO_CODE:
      found.update(range(token.start[0], token.end[0] + 1))
  return found - docstrings(ast.parse(text))


def too_long(path: pathlib.Path, text: str) -> list[str]:
  """What of a file is longer than it should be."""
  count = len(text.splitlines())
  found = [f"{path}: {count} lines"] if count > LONGEST_FILE else []
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.FunctionDef):
      lines = (node.end_lineno or node.lineno) - node.lineno + 1
      if lines > LONGEST_FUNCTION:
        found.append(f"{path}: {node.name} has {lines} lines")
  return found


def main() -> None:
  """Prints the lines of each folder, and what is too long."""
  folders = sys.argv[1:] or ["resnet_jax"]
  counts, long = Counter[str](), list[str]()
  for folder in folders:
    for path in sorted((ROOT / folder).rglob("*.py")):
      place, text = path.relative_to(ROOT), path.read_text()
      counts[str(place.parent)] += len(code(text))
      long += too_long(place, text)
  for place, count in sorted(counts.items()):
    print(f"{count:7,}  {place}")
  print(f"{sum(counts.values()):7,}  in all")
  print(*long, sep="\n")
  sys.exit(bool(long))


if __name__ == "__main__":
  main()
