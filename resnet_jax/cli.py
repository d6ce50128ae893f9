"""What the commands share: one line for bad input, output that any terminal can print, and what a
signal ends them with.
"""

import io
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from resnet_jax.config import paths
from resnet_jax.distributed import preemption
from resnet_jax.errors import EXIT_PREEMPTED, Diverged, Preempted, UserError
from resnet_jax.runs.progress import BestEffort


def refuse(error: object) -> NoReturn:
  """Ends the program with one line and exit code 1; what a library says is cut."""
  text = " ".join(str(error).split())
  sys.exit(f"error: {text if isinstance(error, UserError) else text[:400]}")


def announce(text: str) -> None:
  """Tells on the standard error what the next seconds are spent on, before they begin."""
  print(f"{text} ...", file=BestEffort(sys.stderr), flush=True)  # type: ignore[arg-type]


def parser(check: Callable[[list[str]], None]) -> Callable[[list[str]], list[str]]:
  """What reads the flags of a command; `check` is given the arguments that are none.

  Whatever is wrong, or `check` raises a UserError for, ends the program with one line.
  """

  def parse(argv: list[str]) -> list[str]:
    try:
      flags.FLAGS.set_gnu_getopt()  # flags may stand behind what is none
      rest = flags.FLAGS(paths.expand_flags(argv))
      check(rest[1:])
      return rest
    except (UserError, flags.Error) as error:
      refuse(error)

  return parse


def escape_output() -> None:
  """From here on characters that the standard streams cannot print are printed as escapes.

  They are in file names that are not UTF-8, and on an ASCII terminal in any name.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[list[str]], None], parse: Callable) -> None:
  """Runs a command that may be stopped at any time; what it refuses ends it with one line."""

  def refusing(argv: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # libraries tell of every backend that is not there
    try:
      main(argv)
    except (UserError, Diverged, OSError) as error:  # OSError: a disk that is full or gone
      sys.exit(f"error: {error}")

  preemption.leave_at_once()
  escape_output()
  try:
    app.run(refusing, flags_parser=parse)
  except BaseException as error:  # of whatever class a library has made it
    done = isinstance(error, SystemExit) and not error.code
    if isinstance(error, Preempted):
      print(error, file=sys.stderr)
    elif preemption.told() and not done:
      print(f"stopped by {preemption.told()}; run it again", file=sys.stderr)
    else:
      raise
    sys.exit(EXIT_PREEMPTED)
