"""Files that are damaged, of no known kind, or that would run code."""

import os
import pickle

import numpy as np
import pytest
import random_weights

from resnet_jax.convert import files
from resnet_jax.errors import UserError

NAMED = {"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4)}


def refused(path):
  with pytest.raises(UserError) as error:
    files.read(path)
  text = str(error.value)
  assert "\n" not in text and str(path) in text, text
  return text


def whole(folder, ending):
  """A file of that kind, as bytes."""
  path = folder / f"whole{ending}"
  if ending == ".safetensors":
    random_weights.saved(path, NAMED)
  else:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(value) for name, value in NAMED.items()}, path)
  np.testing.assert_array_equal(files.read(path)["a.weight"], NAMED["a.weight"])
  return path.read_bytes()


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".th"])
def test_damaged_files(tmp_path, ending):
  data = whole(tmp_path, ending)
  path = tmp_path / f"net{ending}"
  for damaged in (b"", b"no weights at all", data[:5], data[: len(data) // 2], data[:-3]):
    path.write_bytes(damaged)
    assert refused(path).startswith(str(path))


class Harmful:
  """What a pickle does when it is read."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_would_run_code(tmp_path, legacy):
  torch = pytest.importorskip("torch")
  made, path = tmp_path / "made", tmp_path / "net.pth"
  torch.save(
    {"a.weight": torch.ones(3), "b": Harmful(made)}, path, _use_new_zipfile_serialization=not legacy
  )
  assert refused(path) == (
    f"{path} holds more than tensors, or is damaged; it is not read, as a pickle may run code"
  )
  assert not made.exists()
  torch.load(path, weights_only=False)
  assert made.exists()  # it would have


def test_a_bare_pickle(tmp_path):
  pytest.importorskip("torch")
  made, path = tmp_path / "made", tmp_path / "net.th"
  path.write_bytes(pickle.dumps(Harmful(made)))
  refused(path)
  assert not made.exists()


def test_a_whole_module_is_not_unpickled(tmp_path):
  torch = pytest.importorskip("torch")
  torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pth")
  assert "holds more than tensors" in refused(tmp_path / "net.pth")


def test_what_torch_files_may_hold(tmp_path):
  torch = pytest.importorskip("torch")
  path = tmp_path / "net.pt"
  torch.save(torch.ones(3), path)
  assert refused(path) == f"{path} holds a Tensor, no tensors by name"
  torch.save({"epoch": 3}, path)
  assert refused(path) == f"{path} holds no tensors"
  torch.save(
    {
      "a": torch.ones(3, dtype=torch.bfloat16),
      "steps": torch.tensor(3),
      "lr": 0.1,
      "b": torch.nn.Parameter(torch.ones(2)),
    },
    path,
  )
  found = files.read(path)
  assert {name: value.dtype.name for name, value in found.items()} == {
    "a": "float32",
    "steps": "int64",
    "b": "float32",
  }


def test_torch_is_missing(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "torch", None)
  (tmp_path / "net.pth").write_bytes(b"")
  assert refused(tmp_path / "net.pth").endswith("needs PyTorch: pip install -e '.[torch]'")


def test_no_such_file_and_no_such_kind(tmp_path):
  assert refused(tmp_path / "net.pth").endswith("there is no such file")
  (tmp_path / "net.h5").touch()
  assert "choose from .caffemodel, .pt, .pth, .safetensors, .th" in refused(tmp_path / "net.h5")
