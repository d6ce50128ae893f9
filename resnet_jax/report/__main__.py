"""Makes the page of a sweep, or of several, from what their runs have written so far.

    python -m resnet_jax.report runs/shortcuts
    python -m resnet_jax.report runs/shortcuts runs/after_add --out=page
    python -m resnet_jax.report runs --group=ResNet-110

A folder is a sweep's or one above several; `runs/*` is a pattern. The runs may still go on. Folders
of one sweep, such as two machines', are merged; different sweeps become sections of one page. Exit
codes: 0 done, 1 bad input.
"""

import os
import pathlib

from absl import flags

from resnet_jax import cli
from resnet_jax.errors import UserError

_WORKDIRS = flags.DEFINE_multi_string(
  "workdir", [], "Folder of a sweep, or one above several; may be given again, or without the flag."
)
_OUT = flags.DEFINE_string(
  "out", None, "Folder to write to; the first folder's report if not given."
)
_GROUPS = flags.DEFINE_multi_string(
  "group", [], "Show only this group of rows, as ResNet-110; may be given again."
)


def check(rest: list[str]) -> None:
  """Raises a UserError where no folder is named."""
  if not _WORKDIRS.value + rest:
    raise UserError("name the folder of a sweep, as python -m resnet_jax.report runs/shortcuts")


def main(argv: list[str]) -> None:
  """Reads the sweeps and writes their page."""
  from resnet_jax.report import folders
  from resnet_jax.report.make import make

  named = [*_WORKDIRS.value, *argv[1:]]
  found = folders.find(named)
  first = pathlib.Path(os.path.expanduser(named[0]))
  home = first if first.is_dir() else found[0]  # of a pattern, its first sweep
  out = pathlib.Path(os.path.expanduser(_OUT.value or home / "report"))
  print(f"the report is in {make(found, _GROUPS.value, out)}")


if __name__ == "__main__":
  cli.run(main, cli.parser(check))
