"""Where photographs come from: `data.name` folder, list, or a TFDS set whose images vary in size.

All are random access to encoded bytes and a label, and are cheap to send to another process.
"""

import hashlib
import os
from typing import Any

import numpy as np

from resnet_jax.data.photos import scan
from resnet_jax.data.photos.unreadable import Unreadable, read, reason


class Files:
  """Photographs as files, in the order of their names or of their list.

  `left_out` is a line on the files that were found but are not taken; empty if there are none.
  """

  def __init__(self, found: scan.Found, classes: tuple[str, ...]):
    """Of `found`, whose labels number `classes`; the folder they lie in is not in `fingerprint`."""
    self.classes, self.left_out, self._root = classes, found.left_out, found.root
    self._names, self._labels = np.array(found.names), np.array(found.labels, np.int32)
    digest = hashlib.sha256(repr(classes).encode())
    for part in (self._names, self._labels, np.array(found.sizes, np.int64)):
      digest.update(part.dtype.str.encode() + part.tobytes())
    self.fingerprint = digest.hexdigest()[:16]

  def __len__(self) -> int:
    return len(self._labels)

  def __getitem__(self, index: int) -> tuple[bytes, int]:
    label = int(self._labels[index])
    return read(os.path.join(os.fsencode(self._root), self._names[index]), label), label

  def name(self, index: int) -> str:
    """The path."""
    return os.path.join(self._root, os.fsdecode(self._names[index]))

  def __repr__(self) -> str:
    return f"Files({self._root!r}, {len(self)} photographs, {self.fingerprint})"


class Records:
  """Photographs in a prepared TFDS set, read without TensorFlow; each process opens it anew."""

  def __init__(self, records: Any):
    """Of a TFDS data source, whose images stay encoded."""
    info = records.dataset_info
    self._records, self._keys = records, info.supervised_keys[:2]  # the image's, the label's
    self.classes, self.left_out = tuple(info.features[self._keys[1]].names), ""
    self._place = f"split {records.split} of {info.full_name}"
    sizes = sorted((name, split.num_examples) for name, split in info.splits.items())
    known = repr((self._place, len(records), sizes, self.classes))
    self.fingerprint = hashlib.sha256(known.encode()).hexdigest()[:16]

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> tuple[bytes, int]:
    from resnet_jax.data import tfds

    try:
      record = self._records[int(index)]
    except tfds.DAMAGE as error:
      raise Unreadable(reason(error)) from None
    image, label = self._keys
    return record[image], int(record[label])

  def name(self, index: int) -> str:
    """The number in the split."""
    return f"example {index} of {self._place}"

  def __repr__(self) -> str:
    return f"Records({self._place}, {self.fingerprint})"


# Photographs of one split: `source[i]` is the encoded bytes and the label of example i, `name(i)`
# what a message calls it. Where there are no bytes to be had, `Unreadable` is raised.
Source = Files | Records


def classes(config: Any) -> tuple[str, ...]:
  """The names of the labels, without a look at the photographs.

  Raises:
    UserError: a folder, a list or a split is missing.
  """
  if config.name in scan.KINDS:
    return scan.classes(config)
  from resnet_jax.data import tfds

  return tfds.class_names(config)


def load(config: Any) -> tuple[Source, Source]:
  """The photographs to train and to test on that `config.data` names.

  `config.name` is `folder` or `list`, as `scan` describes them, or a TFDS set.

  Raises:
    UserError: a folder, a list or a split is missing, empty, or has labels that training has not.
  """
  if config.name in scan.KINDS:
    classes, *found = scan.files(config)
    train, test = (Files(part, classes) for part in found)
    return train, test
  from resnet_jax.data import tfds  # a second to import, which files need not pay

  builder = tfds.opened(config)
  first, second = (tfds.data_source(builder, config, f"{part}_split") for part in ("train", "test"))
  return Records(first), Records(second)
