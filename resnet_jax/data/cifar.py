"""CIFAR-10 and CIFAR-100, prepared from the authors' archives into the folders TFDS reads.

TFDS downloads and prepares them too, but encodes images with TensorFlow. Here its own preparation
runs on images that are encoded already: the same examples under the same keys, no TensorFlow.
"""

import fcntl
import io
import pathlib
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import rich.progress
import tensorflow_datasets as tfds
from PIL import Image

from resnet_jax.data import download

# Of an archive's members: the records of each split, and the names of each record's labels.
_SPLITS = {
  "cifar10": {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
  "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}
_LABEL_NAMES = {  # feature -> file, in the order of the bytes of a record
  "cifar10": {"label": "batches.meta.txt"},
  "cifar100": {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
}
NAMES = tuple(_SPLITS)


def prepare(builder: Any) -> None:
  """Downloads the archive of `builder`, a TFDS builder of one of `NAMES`, and prepares the set.

  It appears whole or not at all. Of several runs that need it, one prepares it and the others
  wait.

  Raises:
    Unreachable: the archive cannot be had; what has come of it is kept.
    UserError: the archive is not the authors'.
    OSError: the folder cannot be written.
  """
  root = pathlib.Path(builder.data_dir).parent.parent
  root.mkdir(parents=True, exist_ok=True)
  with (root / f".{builder.name}.lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, or its process is gone
    if pathlib.Path(builder.data_dir).is_dir():
      return
    url, size, sha256 = source(builder)
    archive = root / "downloads" / url.rsplit("/", 1)[-1]
    if not archive.exists():
      download.fetch(url, archive, size, sha256)
    _write(builder, archive)
    archive.unlink()


def source(builder: Any) -> tuple[str, int, str]:
  """Where the authors' archive is, its size in bytes and its SHA-256, as TFDS registers them."""
  ((url, known),) = builder.url_infos.items()
  return url, int(known.size), known.checksum


def _write(builder: Any, archive: pathlib.Path) -> None:
  label_names = _LABEL_NAMES[builder.name]
  with tarfile.open(archive) as tar:
    files = {
      pathlib.PurePath(member.name).name: tar.extractfile(member).read()  # type: ignore[union-attr]
      for member in tar
      if member.isfile()
    }
  for feature, name in label_names.items():
    builder.info.features[feature].names = files[name].decode().split()
  # TFDS's own generators read the same files through TensorFlow.
  builder._split_generators = lambda _: {
    split: _examples(split, b"".join(files[name] for name in names), list(label_names))
    for split, names in _SPLITS[builder.name].items()
  }
  tfds.disable_progress_bar()
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
  )


def _examples(split: str, data: bytes, labels: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
  """The examples under TFDS's own keys, on which the order of a prepared set depends."""
  records = np.frombuffer(data, np.uint8).reshape(-1, len(labels) + 3 * 32 * 32)
  for index, record in enumerate(rich.progress.track(records, f"preparing {split}")):
    planes = record[len(labels) :].reshape(3, 32, 32)
    image = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(image, "PNG")
    example = {"id": f"{split}_{index:05d}", "image": image.getvalue()}
    yield index, example | {label: int(record[i]) for i, label in enumerate(labels)}
