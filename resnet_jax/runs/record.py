"""What a run leaves in its workdir: rows, checkpoints, result, pictures, predictions.

Of several processes the first keeps the record; the others keep `Nothing`.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError
from resnet_jax.native import choice
from resnet_jax.runs import metrics, results, workdir
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.runs.progress import Progress
from resnet_jax.training.setup import Setup, plan

RETRY_SECONDS = 10.0  # between attempts to write to a full disk ...
PATIENCE_SECONDS = 60.0  # ... at the end
DRAWING_SECONDS = 60.0  # between two pictures of the curves


def patience() -> float:
  """How many seconds a run waits at its end for space on a full disk."""
  given = os.environ.get("RESNET_JAX_DISK_PATIENCE", PATIENCE_SECONDS)
  try:
    return float(given)
  except ValueError:
    raise UserError(f"RESNET_JAX_DISK_PATIENCE={given!r} is no number of seconds") from None


@dataclasses.dataclass
class Position:
  """How far a run has come and what it has measured; saved beside the state."""

  step: int = 0
  evaluated: int = -1  # the last step evaluated
  headline: float | None = None  # what that evaluation gave ...
  best: float | None = None  # ... the best of all ...
  best_step: int | None = None  # ... and its step
  logged: int = 0  # the last step of the last training row
  # Since then: the loss summed over steps, and what else the task measures over examples.
  sums: dict[str, float] = dataclasses.field(default_factory=dict)
  data: str = ""  # the fingerprint of the data set
  seconds: float = 0.0  # of training, over all starts
  peak_memory_bytes: int = 0  # the most of any start
  identity: str = ""  # of the run, see `workdir.identity`; "" in checkpoints of older versions
  seed: int | None = None  # the run's, for messages
  kernels: str = ""  # that its steps were computed with last; "" in checkpoints of older versions
  classes: list[str] | None = None  # in the order of the logits; None: their names are not known
  # Since the last checkpoint.
  rows: list[metrics.Measurement] = dataclasses.field(default_factory=list)


def whose(config: Any, classes: Iterable[str] | None) -> dict[str, Any]:
  """What a `Position` says of the run that it is of."""
  names = None if classes is None else list(classes)
  return {"identity": workdir.identity(config), "seed": config.seed, "classes": names}


class Record:
  """The files of one run, of which this process is the only writer."""

  def __init__(self, path: pathlib.Path, run: Setup, progress: Progress):
    self.path, self.setup, self.progress = path, run, progress
    self.patience = patience()
    self._folder = os.stat(path)
    self.log = metrics.MetricsLog(path, self._check)
    self.checkpoints = Checkpoints(path, progress.message, self._check)
    self._unsaved: list[metrics.Measurement] = []  # rows that no checkpoint holds
    self._sent: tuple[int | None, int] = (None, 0)  # the last save's step, how many of them it has
    self.retry_at = self.draw_at = 0.0
    self.started = time.monotonic()  # less the seconds of earlier starts

  def _check(self) -> None:
    """Raises an OSError where the folder is not the one that the run began in: what is left of a
    network folder that has vanished is an empty one, and not to be filled.
    """
    if not os.path.samestat(os.stat(self.path), self._folder):
      raise OSError(f"{self.path} has vanished; another folder is in its place")

  def restore(self, old: Any) -> tuple[Any, Position | None]:
    """The state, on the devices of this process, and the position of the newest whole checkpoint;
    None and None if there are no checkpoints.

    Args:
      old: the config of the run that is here.

    Raises:
      UserError: there are checkpoints, but none is whole, or they are of another data set.
    """

    def foreign(position: dict[str, Any]) -> str | None:
      if (why := workdir.other_run(self.setup.config, position)) is None:
        classes = workdir.class_names(self.path, position)
        workdir.refuse_other_data(old, self.setup.dataset, position["data"], classes)
      return why

    restored = self.checkpoints.restore(self.setup.template, foreign=foreign)
    if restored:
      workdir.say_if_older(restored[1], self.progress.message)
      return restored[0], self._completed(restored[1])
    if self.checkpoints.steps():
      raise UserError(
        f"none of the checkpoints in {self.checkpoints.directory} can be restored; mend them, or "
        "move that folder away to begin again"
      )
    return None, None

  def _completed(self, saved: dict[str, Any]) -> Position:
    """A position, with what older versions did not save.

    Without their rows, the test of its step is done again if its row is missing.
    """
    saved = saved | whose(self.setup.config, self.setup.dataset.info.classes)
    if "wrong" in saved:  # by a version that knew classification only
      saved["headline"], saved["best"] = saved.pop("test_error"), saved.pop("best_test_error")
      saved["sums"] = {"loss": saved.pop("loss"), "error": 100 * saved.pop("wrong")}
    if "rows" not in saved and not self.log.has(saved["step"], "test"):
      saved["evaluated"] = -1
    return Position(**saved)

  def begin(self, position: Position, old: Any) -> None:
    """Makes room for what is to come after `position`, in the run that had the config `old`."""
    self.started -= position.seconds
    self.checkpoints.discard_after(position.step)
    if old is not None:
      changed = (position.kernels or choice.LIBRARY) != self.setup.choice.kernels
      if changed or config_lib.differences(old, self.setup.config):
        self.log.discard_after(position.step)  # the steps to come may be measured otherwise
      self._write_back(position, old)
    metrics.write_json(self.path / "config.json", config_lib.to_json(self.setup.config))

  def _write_back(self, position: Position, old: Any) -> None:
    """Gives the rows that the file lacks up to `position`, and says which are lost."""
    last = self.log.last
    for row in position.rows:
      self.log.write(row)
    durations, _ = plan(old, self.setup.dataset.train_examples)
    tested = position.step + (position.evaluated == position.step)  # all before it
    due = {
      "train": range(durations.log_every, position.logged + 1, durations.log_every),
      "test": range(durations.eval_every, tested, durations.eval_every),
    }
    if lost := metrics.lost_rows(self.log, due, last):
      self.progress.message(f"rows of metrics.jsonl are lost: {lost}")

  def write(self, row: metrics.Measurement) -> None:
    """Adds a row to the metrics, with the seconds of training so far."""
    row = row | {"timing": {"seconds": time.monotonic() - self.started} | row["timing"]}
    self.log.write(row)
    self._unsaved.append(row)

  def retry(self, state: Any, position: Position) -> None:
    """Sees whether a save has ended; where it has failed, saves what there is now instead."""
    self.checkpoints.settle_if_done()
    if self.checkpoints.failure and time.monotonic() > self.retry_at:
      self.save(state, position)

  def save(self, state: Any, position: Position) -> None:
    """Begins to save, unless this step is saved."""
    self.checkpoints.settle()
    if self._sent[0] == self.checkpoints.last_good:
      del self._unsaved[: self._sent[1]]  # the checkpoint that is safe now holds them
      self._sent = (None, 0)
    if position.step == self.checkpoints.last_good:
      return  # a finished run that is started again keeps its time
    position.seconds = time.monotonic() - self.started
    position.peak_memory_bytes = max(position.peak_memory_bytes, results.peak_memory_bytes())
    self.checkpoints.best_step = position.best_step
    self.retry_at = time.monotonic() + RETRY_SECONDS
    if not self.log.flush():  # a resume from this step would not measure the rows before it again
      self.checkpoints.failure = "metrics rows cannot be written"
      return
    self._sent = (position.step, len(self._unsaved))
    position.rows = self._unsaved
    self.checkpoints.save(position.step, state, dataclasses.asdict(position))

  def secure(self, state: Any, position: Position) -> None:
    """Sees the state and every row on the disk, trying for a while where it is full.

    Raises:
      UserError: it stayed full; what is missing is named.
    """
    deadline = time.monotonic() + self.patience
    while True:
      self.save(state, position)
      self.checkpoints.settle()
      written = self.log.flush()
      if written and self.checkpoints.last_good == position.step:
        return
      if time.monotonic() > deadline:
        self.checkpoints.clear()  # what threads wrote after their save had failed
        raise UserError(
          f"the disk of {self.path} cannot be written ({self.checkpoints.failure}): missing are "
          f"the checkpoint of step {position.step} and {self.log.pending} metrics rows; the "
          f"last good checkpoint is {self.checkpoints.last_good}; free space and run this again"
        )
      time.sleep(min(RETRY_SECONDS, self.patience / 4))

  def close(self) -> int | None:
    """Ends saving; returns the last step that is safe."""
    self.checkpoints.settle()
    self.checkpoints.close()
    return self.checkpoints.last_good

  def write_result(self, result: dict[str, Any]) -> None:
    """Writes `result.json`."""
    self._check()
    metrics.write_json(self.path / "result.json", result)

  def draw_if_due(self) -> None:
    """Draws the curves anew, but not too often."""
    if time.monotonic() > self.draw_at:
      self.draw()

  def draw(self) -> None:
    """Draws the curves."""
    self.draw_at = time.monotonic() + DRAWING_SECONDS
    with contextlib.suppress(OSError):  # a picture can be drawn again
      self._check()
      results.plot(self.path, self.setup.config, self.setup.learner.task.headline)

  def has_predictions(self, step: int) -> bool:
    """Whether what the network of that step predicts is there."""
    try:
      with np.load(self.path / "predictions.npz") as found:
        return int(found["step"]) == step
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
      return False

  def write_predictions(self, found: Any, step: int) -> None:
    """What the last step makes of every test example, which reports compare in pairs."""
    results.write_predictions(self.path / "predictions.npz", found.kept, step)


class Nothing:
  """What the other processes keep: every method that they call, and it does nothing."""

  def write(self, row: metrics.Measurement) -> None:
    """No row."""

  def retry(self, state: Any, position: Position) -> None:
    """No save that could have failed."""

  def save(self, state: Any, position: Position) -> None:
    """No checkpoint."""

  def close(self) -> None:
    """Nothing is open."""

  def write_result(self, result: dict[str, Any]) -> None:
    """No result."""

  def draw_if_due(self) -> None:
    """No picture."""

  def draw(self) -> None:
    """No picture."""

  def write_predictions(self, found: Any, step: int) -> None:
    """No predictions."""
