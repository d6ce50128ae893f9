"""Makes the page of a sweep, or of several, from what their runs have written so far.

    python -m resnet_jax.report --workdir=runs/shortcuts
    python -m resnet_jax.report --workdir=runs/shortcuts --workdir=runs/after_add --out=page

The runs may still go on. Folders of one sweep, such as two machines', are merged; different sweeps
become sections of one page. Exit codes: 0 done, 1 bad input.
"""

import pathlib
import sys

from absl import flags

from resnet_jax import cli
from resnet_jax.errors import UserError

_WORKDIRS = flags.DEFINE_multi_string("workdir", [], "Folder of a sweep; may be given again.")
_OUT = flags.DEFINE_string(
  "out", None, "Folder to write to; the first WORKDIR/report if not given."
)


def check(rest: list[str]) -> None:
  """Raises a UserError where the flags name no sweep, or there is more than flags."""
  if rest:
    raise UserError(f"{rest[0]!r} is not a flag; folders are given as --workdir=runs/shortcuts")
  if not _WORKDIRS.value:
    raise UserError("--workdir is missing: name a sweep's folder, as --workdir=runs/shortcuts")


def main(argv: list[str]) -> None:
  """Reads the sweeps and writes their page."""
  del argv
  from resnet_jax.report.read import read
  from resnet_jax.report.write import write

  folders = [pathlib.Path(folder) for folder in _WORKDIRS.value]
  try:
    page = write(read(folders), pathlib.Path(_OUT.value or folders[0] / "report"))
  except (UserError, OSError) as error:
    sys.exit(f"error: {error}")
  print(f"the report is in {page}")


if __name__ == "__main__":
  cli.run(main, cli.parser(check))
