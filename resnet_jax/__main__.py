"""Says which commands there are: python -m resnet_jax."""

import pathlib
import shlex
import sys
from typing import NoReturn

COMMANDS = """\
python -m resnet_jax.main       trains, evaluates or describes a run
python -m resnet_jax.sweep      trains the rows of a sweep file with several seeds
python -m resnet_jax.report     writes the page that compares the runs of sweeps
python -m resnet_jax.study      measures what happens inside of networks, and draws it
python -m resnet_jax.classify   names what images show
python -m resnet_jax.features   writes a stage's features for every image in a folder
python -m resnet_jax.convert    imports weights of other frameworks, or exports a run's

Begin with
  python -m resnet_jax.main --config=configs/preact1001.py:digits --workdir=runs/digits
Each command lists its flags with --help.
"""


def refer(*flags: str) -> NoReturn:
  """Ends a module that is no command with the command to run instead, `flags` added to it."""
  module = pathlib.Path(sys.argv[0]).stem
  given = shlex.join(sys.argv[1:]) or "--config=... --workdir=..."
  command = " ".join(["python -m resnet_jax.main", *flags, given])
  sys.exit(f"error: resnet_jax.{module} is no command; run {command}")


def main() -> None:
  """Prints the commands; exit code 2 unless --help asks for them."""
  asked = any(argument in ("--help", "-h", "-help") for argument in sys.argv[1:])
  print(COMMANDS, end="", file=sys.stdout if asked else sys.stderr)
  sys.exit(0 if asked else 2)


if __name__ == "__main__":
  main()
