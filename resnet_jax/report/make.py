"""From the folders of sweeps to the page, telling meanwhile what takes its time."""

import pathlib
from collections.abc import Sequence

from resnet_jax import cli


def make(folders: Sequence[pathlib.Path], groups: Sequence[str], out: pathlib.Path) -> pathlib.Path:
  """Writes the page of the sweeps in `folders` into `out` and returns it.

  Args:
    folders: of sweeps.
    groups: the groups of rows to show; all where there are none.
    out: the folder for the page and its files.

  Raises:
    UserError: a sweep cannot be read, or none has such a group.
  """
  cli.announce(f"reading the runs in {', '.join(map(str, folders))}")
  from resnet_jax.report.read import read, select

  sweeps = select(read(folders), groups)
  count = sum(len(sweep.runs) for sweep in sweeps)
  cli.announce(f"comparing the rows of {count} runs and drawing the figures")
  from resnet_jax.report.write import write

  return write(sweeps, out)
