"""What a run measures, as rows of `metrics.jsonl` and as TensorBoard events.

A row is `{"step": 100, "split": "train", "epoch": 2.2, "loss": 0.3, "error": 9.1,
"learning_rate": 0.1, "timing": {...}}`; errors are in percent, and all that may differ between
equal runs sits under `timing`.
"""

import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from resnet_jax.runs import whole

Measurement = dict[str, Any]


def read_rows(workdir: pathlib.Path) -> list[Measurement]:
  """The rows of the run in `workdir`, up to the first line that is not whole."""
  return _read(pathlib.Path(workdir) / "metrics.jsonl")[0]


def _read(path: pathlib.Path, last: float = math.inf) -> tuple[list[Measurement], int]:
  """The whole rows at the start of the file, up to step `last`, and how many bytes they take."""
  rows, good = list[Measurement](), 0
  if not path.is_file():
    return rows, good
  for line in path.read_bytes().splitlines(keepends=True):
    try:
      row = json.loads(line)
      row |= {"step": int(row["step"]), "split": str(row["split"])}
    except (ValueError, KeyError, TypeError):
      break
    if not line.endswith(b"\n") or row["step"] > last:
      break
    rows.append(row)
    good += len(line)
  return rows, good


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with whole.written(path) as file:
    file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


class MetricsLog:
  """The rows of one run; each (step, split) is written once, whatever is measured again.

  A run that resumes measures again what it had written after its last checkpoint; those rows are
  compared, not repeated. Rows that the disk refuses are kept and tried again with the next.
  Nothing is written before the first row.
  """

  def __init__(self, workdir: pathlib.Path, check: Callable[[], None] = lambda: None):
    """`check` raises an OSError where nothing may be written now."""
    self.path = pathlib.Path(workdir) / "metrics.jsonl"
    self._check = check
    rows, self._good = _read(self.path)
    self._rows = {(row["step"], row["split"]): row for row in rows}
    self._held: list[bytes] = []
    self._foreign = True  # what stands behind the last whole row may be another start's
    self._events = _Events(self.path.parent / "events")
    self._told: set[str] = set()

  @property
  def pending(self) -> int:
    """How many rows are not on the disk yet."""
    return len(self._held)

  @property
  def last(self) -> int:
    """The step of the last row; 0 if there is none."""
    return max((step for step, _ in self._rows), default=0)

  def has(self, step: int, split: str) -> bool:
    """Whether there is a row of that step and split."""
    return (step, split) in self._rows

  def write(self, row: Measurement) -> None:
    """Adds a row, unless one of its step and split is there.

    Raises:
      ValueError: a number is not finite; such a row must not look like a measurement.
    """
    key = (row["step"], row["split"])
    if key in self._rows:
      if self._rows[key] | {"timing": None} != row | {"timing": None}:
        self._warn_once("step %d, %s: measured again, and not as in %s", *key, self.path)
      return
    self._held.append((json.dumps(row, allow_nan=False) + "\n").encode())
    self._rows[key] = row
    self._append()
    try:
      self._check()
      self._events.write(row)
    except OSError as error:
      self._warn_once("some TensorBoard events are not written: %s", error)

  def discard_after(self, step: int) -> None:
    """Sets aside the rows after `step`, which another schedule will measure otherwise."""
    rows, self._good = _read(self.path, step)
    self._rows = {(row["step"], row["split"]): row for row in rows}
    if self.path.exists():
      with self.path.open("r+b") as file:
        self._cut_rest(file)

  def flush(self) -> bool:
    """Tries to write the rows held; returns whether all are on the disk, safe from a power cut."""
    if not self._append():
      return False
    if not self.path.exists():
      return True
    try:
      with self.path.open("rb") as file:
        os.fsync(file.fileno())
    except OSError as error:
      self._warn_once("metrics rows may not be on the disk: %s", error)
      return False
    return True

  def _append(self) -> bool:
    """Hands the rows held to the system; returns whether it took them all.

    Where none is held, what stands behind the last whole row goes all the same: none may follow.
    """
    if not self._held and not (self._foreign and self.path.exists()):
      return True
    text = b"".join(self._held)
    try:
      self._check()
      with self.path.open("r+b" if self.path.exists() else "w+b") as file:
        self._cut_rest(file)
        file.write(text)
    except OSError as error:
      self._warn_once("metrics rows are held in memory: %s", error)
      return False
    self._good += len(text)
    self._held = []
    return True

  def _cut_rest(self, file: IO[bytes]) -> None:
    """Leaves the file at the end of its last whole row.

    What an earlier start left behind it goes to a file aside; after that it can only be a row of
    our own that a full disk cut short, and that is still held.
    """
    file.seek(self._good)
    if self._foreign and (rest := file.read()):
      with self.path.with_suffix(".aside").open("ab") as aside:
        aside.write(rest)
    file.truncate(self._good)
    file.seek(self._good)
    self._foreign = False

  def _warn_once(self, text: str, *values: Any) -> None:
    if text not in self._told:
      self._told.add(text)
      logging.warning(text, *values)


def lost_rows(log: MetricsLog, due: Mapping[str, Sequence[int]], last: int) -> str:
  """Names the rows that a log lacks, as "train 8, 16, test 10"; "" if it has all.

  Args:
    log: the rows.
    due: for each split, the steps of its rows.
    last: the last step in the file as it was found. Before it a test may not have been due: a
      resume may change `eval_every`.
  """
  found = []
  for split, steps in due.items():
    lost = [s for s in steps if not log.has(s, split) and (split == "train" or s >= last)]
    if len(lost) > 3:
      found.append(f"{split} {lost[0]}, {lost[1]} to {lost[-1]} ({len(lost)} rows)")
    elif lost:
      found.append(f"{split} {', '.join(map(str, lost))}")
  return ", ".join(found)


class _Events:
  """Scalars for TensorBoard, written at once and by this thread.

  tensorboardX's own SummaryWriter writes in a thread that ends at the first error, a full disk;
  its queue then fills and the next row would wait for ever.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._writer: Any = None

  def write(self, row: Measurement) -> None:
    """Adds the row's values as `train/loss`, `test/error`, ...

    Raises:
      OSError: the disk refused; the next row begins a new file, as nothing behind half an event
        can be read.
    """
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    writer, self._writer = self._writer or self._open(), None
    for name, value in row.items():
      if name not in ("step", "split", "timing"):
        summary = scalar(f"{row['split']}/{name}", value)
        writer.write_event(Event(wall_time=time.time(), step=row["step"], summary=summary))
    writer.flush()
    self._writer = writer

  def _open(self) -> Any:
    from tensorboardX.event_file_writer import EventsWriter

    self._folder.mkdir(parents=True, exist_ok=True)
    # The names have whole seconds; numbered, two files begun in one do not overwrite each other.
    number = len(list(self._folder.iterdir()))
    return EventsWriter(str(self._folder / "events"), f".{number}")
