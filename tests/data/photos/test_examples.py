"""Photographs of no class, as TFDS has them in some splits."""

import make
import pytest

from resnet_jax.data.photos.examples import Training
from resnet_jax.errors import UserError


class Unlabelled:
  """Every second photograph has no label; or none has one."""

  def __init__(self, every=False):
    self.every, self.data = every, make.encoded(30, 40)

  def __len__(self):
    return 4

  def __getitem__(self, index):
    return self.data, -1 if self.every or index % 2 else index

  def name(self, index):
    return f"number {index}"


def test_photographs_of_no_class_are_replaced_and_reported():
  batch = Training(Unlabelled(), 32, "scale", 0)((0, [0, 1, 2, 3]))
  assert batch["target"].tolist() == [0, 2, 2, 0]
  assert batch["unreadable"].tolist() == [-1, 1, -1, 3]
  with pytest.raises(UserError, match="with number 0; the last: it has no class"):
    Training(Unlabelled(every=True), 32, "scale", 0)((0, [0]))
