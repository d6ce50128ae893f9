"""What a run measures, as rows of `metrics.jsonl` and as TensorBoard events.

A row is `{"step": 100, "split": "train", "epoch": 2.2, "loss": 0.3, "error": 9.1,
"learning_rate": 0.1, "timing": {...}}`; errors are in percent, and all that may differ between
equal runs sits under `timing`.
"""

import json
import logging
import os
import pathlib
from typing import Any

Row = dict[str, Any]


def read_rows(workdir: pathlib.Path) -> list[Row]:
  """The rows of the run in `workdir`, up to the first line that is not whole."""
  return _read(pathlib.Path(workdir) / "metrics.jsonl")[0]


def _read(path: pathlib.Path) -> tuple[list[Row], int]:
  """The whole rows at the start of the file, and how many bytes they take."""
  rows: list[Row] = []
  good = 0
  if not path.is_file():
    return rows, good
  for line in path.read_bytes().splitlines(keepends=True):
    try:
      row = json.loads(line)
      rows.append(row | {"step": int(row["step"]), "split": str(row["split"])})
    except (ValueError, KeyError, TypeError):
      break
    if not line.endswith(b"\n"):
      rows.pop()
      break
    good += len(line)
  return rows, good


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.partial")
  with partial.open("w") as file:
    json.dump(value, file, indent=2, allow_nan=False)
    file.write("\n")
    file.flush()
    os.fsync(file.fileno())
  partial.replace(path)


class MetricsLog:
  """The rows of one run; each (step, split) is written once, whatever is measured again.

  A run that resumes measures again what it had written after its last checkpoint; those rows are
  compared, not repeated. Rows that the disk refuses are kept and tried again with the next.
  Nothing is written before the first row.
  """

  def __init__(self, workdir: pathlib.Path):
    self.path = pathlib.Path(workdir) / "metrics.jsonl"
    rows, self._good = _read(self.path)
    self._rows = {(row["step"], row["split"]): row for row in rows}
    self._held: list[bytes] = []
    self._events: Any = None

  @property
  def pending(self) -> int:
    """How many rows are not on the disk yet."""
    return len(self._held)

  def write(self, row: Row) -> None:
    """Adds a row, unless one of its step and split is there."""
    key = (row["step"], row["split"])
    if key in self._rows:
      if _facts(self._rows[key]) != _facts(row):
        logging.warning("step %d, %s: measured again, and not as in %s", *key, self.path)
      return
    self._rows[key] = row
    self._held.append((json.dumps(row, allow_nan=False) + "\n").encode())
    self.flush()
    self._write_events(row)

  def flush(self) -> bool:
    """Tries to write the rows held; returns whether all are on the disk."""
    if not self._held:
      return True
    text = b"".join(self._held)
    try:
      with self.path.open("r+b" if self.path.exists() else "w+b") as file:
        self._set_aside_rest(file)
        file.truncate(self._good)  # of a row cut short
        file.seek(self._good)
        file.write(text)
        file.flush()
    except OSError as error:
      logging.warning("%d metrics rows are held in memory: %s", self.pending, error)
      return False
    self._good += len(text)
    self._held = []
    return True

  def _set_aside_rest(self, file: Any) -> None:
    """Keeps what stands behind the last whole row, which is not this program's, in a file aside."""
    file.seek(self._good)
    if rest := file.read():
      with self.path.with_suffix(".damaged").open("ab") as aside:
        aside.write(rest)

  def _write_events(self, row: Row) -> None:
    try:
      if self._events is None:
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(str(self.path.parent / "events"))
      for name, value in row.items():
        if name not in ("step", "split", "timing"):
          self._events.add_scalar(f"{row['split']}/{name}", value, row["step"])
      self._events.flush()
    except OSError as error:
      logging.warning("TensorBoard events are not written: %s", error)


def _facts(row: Row) -> Row:
  return {key: value for key, value in row.items() if key != "timing"}
