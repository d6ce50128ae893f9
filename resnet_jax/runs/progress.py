"""What a person at the terminal sees of a run: a bar there, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

LINE_SECONDS = 10.0


class BestEffort:
  """A file that may fill its disk or lose its reader: what it refuses is not worth a run."""

  def __init__(self, file: TextIO):
    self._file = file

  def write(self, text: str) -> int:
    self._try(self._file.write, printable(text, self._file.encoding))
    return len(text)

  def flush(self) -> None:
    self._try(self._file.flush)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._file, name)

  def _try(self, call: Callable, *arguments: Any) -> None:
    try:
      call(*arguments)
    except BrokenPipeError:
      with open(os.devnull, "w") as nowhere:  # or Python fails at exit with what it still holds
        os.dup2(nowhere.fileno(), self._file.fileno())
    except OSError:
      pass


def printable(text: str, encoding: str | None) -> str:
  """The text with a backslash escape for each character that `encoding` has no bytes for.

  File names that are not UTF-8 hold such characters in every encoding.
  """
  encoding = encoding or "utf-8"
  return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str) -> None:
  """Prints a line to the standard output, whatever characters it has."""
  print(printable(text, sys.stdout.encoding))


def best_effort_console() -> Any:
  """The standard output, which may go away without harm to what is shown there."""
  from rich.console import Console

  out: Any = BestEffort(sys.stdout)
  return Console(file=out, soft_wrap=True, highlight=False)


class Progress:
  """Shows step, what is measured, images/s, time left and elapsed; messages stay above the bar.

  Of several processes, of which `process` is the number of this one, only the first shows anything
  but warnings.
  """

  def __init__(
    self,
    total: int,
    console: Any = None,
    process: int | None = None,
    what: str = "training",
  ):
    self.total = total
    self.what = what
    self.process = process
    self.console = console or best_effort_console()
    self.bar: Any = None  # from the first phase or step on
    self._last_line = -LINE_SECONDS
    self._first: tuple[float, int] | None = None

  def __enter__(self) -> "Progress":
    return self

  def _show(self, **values: Any) -> bool:
    """Changes what the bar shows; False where there is none."""
    if not self.console.is_terminal or self.process:
      return False
    if not self.bar:
      from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
      from rich.progress import Progress as Bar

      self.bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[values]}"),
        TimeElapsedColumn(),
        console=self.console,
      )
      self.task = self.bar.add_task(self.what, total=self.total, values="")
      self.bar.start()
    self.bar.update(self.task, **values)
    return True

  def __exit__(self, *_: object) -> None:
    if self.bar:
      self.bar.stop()

  def phase(self, text: str) -> None:
    """Says what goes on while no step is taken."""
    if not self._show(values=f"{text} ..."):
      self.message(f"{text} ...")

  def completed(self, count: int) -> None:
    """Shows that so many of the total are done, where there is a bar."""
    self._show(completed=count)

  def message(self, text: str) -> None:
    """Prints a line that stays."""
    if not self.process:
      self.console.print(text, markup=False)

  def warn(self, text: str) -> None:
    """Prints a line that stays, of what only this process may know."""
    who = "" if self.process is None else f"process {self.process}: "
    self.console.print(who + text, markup=False)

  def update(self, step: int, measured: str, images_per_second: float) -> None:
    """Shows the last dispatch: what it measured, as a text, and its rate."""
    now = time.monotonic()
    if self._first is None:
      self._first = (now, step)
    begin, first = self._first
    left = clock((self.total - step) * (now - begin) / (step - first)) if step > first else "-:--"
    rate = f"{images_per_second:.0f}" if images_per_second >= 10 else f"{images_per_second:.1f}"
    values = f"{measured}  {rate} images/s  {left} left"
    if self._show(completed=step, values=values):
      return
    if now - self._last_line >= LINE_SECONDS or step == self.total:
      self._last_line = now
      self.message(f"step {step}/{self.total}  {values}")


class OfSeed:
  """A `Progress` for one of several seeds: its lines have its name, one seed tells of the steps."""

  def __init__(self, progress: Progress, seed: int, heard: list[int]):
    """`heard`, of all seeds: the one that tells, then those that took steps since it did."""
    self._progress, self._seed, self._heard = progress, seed, heard

  def phase(self, text: str) -> None:
    """Says what goes on, once for all."""
    if self._seed == self._heard[0]:
      self._progress.phase(text)

  def message(self, text: str) -> None:
    """Prints a line that stays."""
    self._progress.message(f"seed {self._seed}: {text}")

  warn = message  # there is one process

  def update(self, step: int, measured: str, images_per_second: float) -> None:
    """Shows the last dispatch, if this seed tells of steps, or the one that did has ended."""
    if self._seed in self._heard:
      self._heard[:] = [self._seed]
      self._progress.update(step, measured, images_per_second)
    else:
      self._heard.append(self._seed)


def clock(seconds: float) -> str:
  """Seconds as 1:02:03 or 2:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
