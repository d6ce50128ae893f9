"""What the commands share: one line for bad input, and what a signal ends them with."""

import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags

from resnet_jax import paths, preemption
from resnet_jax.errors import EXIT_PREEMPTED, Preempted, UserError


def refuse(error: object) -> NoReturn:
  """Ends the program with one line and exit code 1."""
  sys.exit(f"error: {' '.join(str(error).split())[:400]}")


def parser(check: Callable[[list[str]], None]) -> Callable[[list[str]], list[str]]:
  """What reads the flags of a command; `check` is given the arguments that are none.

  Whatever is wrong, or `check` raises a UserError for, ends the program with one line.
  """

  def parse(argv: list[str]) -> list[str]:
    try:
      rest = flags.FLAGS(paths.expand_flags(argv))
      check(rest[1:])
      return rest
    except (UserError, flags.Error) as error:
      refuse(error)

  return parse


def run(main: Callable, parse: Callable) -> None:
  """Runs a command that may be stopped at any time."""
  preemption.leave_at_once()
  try:
    app.run(main, flags_parser=parse)
  except BaseException as error:  # of whatever class a library has made it
    done = isinstance(error, SystemExit) and not error.code
    if isinstance(error, Preempted):
      print(error, file=sys.stderr)
    elif preemption.told() and not done:
      print(f"stopped by {preemption.told()}; run it again", file=sys.stderr)
    else:
      raise
    sys.exit(EXIT_PREEMPTED)
