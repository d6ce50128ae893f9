"""Files are there whole, or as they were."""

import errno

import pytest

from resnet_jax.runs import whole


def test_it_is_there_once_all_is_written(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("before")
  with whole.written(path) as file:
    file.write(b"af")
    assert path.read_text() == "before"
    file.write(b"ter")
  assert path.read_text() == "after"
  assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("before")
  with pytest.raises(OSError, match="full"), whole.written(path) as file:
    file.write(b"half")
    raise OSError(errno.ENOSPC, "full")
  assert path.read_text() == "before"
  assert list(tmp_path.iterdir()) == [path]


def test_it_makes_no_folder(tmp_path):
  with pytest.raises(FileNotFoundError), whole.written(tmp_path / "gone" / "a.txt"):
    pass
  assert not list(tmp_path.iterdir())
