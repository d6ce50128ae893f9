r"""Writes what a part of a network makes of every photograph in a folder.

    python -m resnet_jax.features --model=runs/resnet50 --dir=photos --out=features.npz
    python -m resnet_jax.features --model=resnet50.safetensors --stage=stage3 --dir=photos \
      --out=features.parquet

A row a photograph, found in the folder and all below it, linked folders too: its path, and the mean
over positions of the stage's last map, float32 [channels]. `--maps` keeps the positions,
[H, W, channels], in an .npz. A file that cannot be read is named and has no row. Files are chosen
by their endings; a line says how many others were left out.

Parquet has only UTF-8 text: each byte of a path that is not UTF-8 is written as `\xff` there. An
.npz has the path as Python has it, which `os.fsencode` turns into the bytes of the file's name.
"""

import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags

from resnet_jax import cli, errors
from resnet_jax.errors import UserError
from resnet_jax.runs import whole
from resnet_jax.training import compilation

_MODEL = flags.DEFINE_string("model", None, "A run's folder or a weights file.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "Of a run: last, best or a step.")
_DIR = flags.DEFINE_string("dir", None, "The folder of photographs.")
_OUT = flags.DEFINE_string("out", None, "The file to write: .npz or .parquet.")
_STAGE = flags.DEFINE_string("stage", "", "stem, stage1 ...; the last stage where not given.")
_MAPS = flags.DEFINE_bool("maps", False, "Keep the positions of the map; .npz alone.")
BATCH = 32


def check(rest: list[str]) -> None:
  """Raises a UserError where a flag is missing or contradicts another."""
  if rest:
    raise UserError(f"{rest[0]!r} is not a flag; the photographs are given by --dir")
  for flag in (_MODEL, _DIR, _OUT):
    if not flag.value:
      raise UserError(f"--{flag.name} is missing: {flags.FLAGS[flag.name].help}")
  if _writer(str(_OUT.value)) is write_parquet and _MAPS.value:
    raise UserError("--maps needs --out=....npz: a row of Parquet holds one vector")


def main(_: list[str]) -> None:
  """Computes the features and writes them."""
  cli.announce(f"importing JAX and reading {_MODEL.value}")
  compilation.set_up()
  from resnet_jax import api, models

  out = pathlib.Path(str(_OUT.value))
  if not out.parent.is_dir():
    raise UserError(f"--out={out} cannot be written: there is no folder {out.parent}")
  run = api.load(str(_MODEL.value), _CHECKPOINT.value)
  stages = models.parts(run.config.model)
  stage = _STAGE.value or stages[-1]
  if stage not in stages:
    raise errors.unknown("--stage", stage, stages)
  paths, features = extract(run, str(_DIR.value), stage, _MAPS.value)
  _writer(str(out))(out, paths, features)
  print(f"{out}: {stage} of {len(paths)} photographs, {' x '.join(map(str, features.shape[1:]))}")


def extract(run: Any, folder: str, stage: str, maps: bool) -> tuple[list[str], np.ndarray]:
  """The paths, relative to the folder, and float32 [N, channels], or [N, H, W, channels]."""
  import jax  # here, so that the command can speak before it takes its seconds

  backbone = run.model.clone(head=None)

  @jax.jit
  def of(variables, images):
    found = backbone.apply(variables, run.normalize(images))[stage].array.astype("float32")
    return found if maps else found.mean((1, 2))

  paths: list[str] = []
  rows: list[np.ndarray] = []
  for names, images in batches(folder, run):
    paths += names
    rows.append(np.asarray(of(run.variables, images))[: len(names)])
  if not rows:
    raise UserError(f"--dir={folder} holds no photograph that can be read")
  return paths, np.concatenate(rows)


def batches(folder: str, run: Any) -> Iterator[tuple[list[str], np.ndarray]]:
  """Paths and images, uint8 [BATCH, H, W, C], of which the last batch fills only the first."""
  from resnet_jax.data.photos import listing
  from resnet_jax.data.photos.unreadable import Unreadable

  if not pathlib.Path(folder).is_dir():
    raise UserError(f"--dir={folder} holds no photographs: it is no folder")
  names: list[str] = []
  images = np.zeros((BATCH, *run.info.shape), np.uint8)
  found, left_out = listing.below(folder)
  if left_out:
    print(left_out, file=sys.stderr)
  for path in found:
    try:
      images[len(names)] = run.read(pathlib.Path(folder) / path)
    except Unreadable as reason:
      print(f"{path}: {reason}", file=sys.stderr)
      continue
    names.append(path)
    if len(names) == BATCH:
      yield names, images
      names = []
  if names:
    yield names, images


def write_npz(path: pathlib.Path, paths: list[str], features: np.ndarray) -> None:
  """Arrays `paths` and `features`, whole or not at all."""
  with whole.written(path) as file:
    np.savez(file, paths=np.asarray(paths), features=features)


def write_parquet(path: pathlib.Path, paths: list[str], features: np.ndarray) -> None:
  """Columns `path` and `features`, a list of floats, whole or not at all."""
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError:
    raise UserError("writing Parquet needs pyarrow: pip install -e '.[parquet]'") from None
  flat = pyarrow.FixedSizeListArray.from_arrays(features.reshape(-1), features.shape[1])
  texts = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in paths]
  with whole.written(path) as file:  # by its path pyarrow opens only what is UTF-8
    parquet.write_table(pyarrow.table({"path": texts, "features": flat}), file)


WRITERS = {".npz": write_npz, ".parquet": write_parquet}


def _writer(out: str):
  suffix = pathlib.Path(out).suffix
  if suffix not in WRITERS:
    raise errors.unknown("--out's ending", suffix, WRITERS)
  return WRITERS[suffix]


if __name__ == "__main__":
  cli.run(main, cli.parser(check))
