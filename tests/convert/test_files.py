"""Files that are damaged, of no known kind, or that would run code."""

import argparse
import json
import os
import pickle
import shlex
import struct

import caffemodel
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
  np.testing.assert_array_equal(files.read(path).tensors["a.weight"], NAMED["a.weight"])
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
    f"{path} holds more than tensors (posix.mkdir); it is not read, as a pickle may run code"
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
  found = files.read(path).tensors
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
  assert "begins with b''; PyTorch's files, .safetensors and .caffemodel are read" in refused(
    tmp_path / "net.h5"
  )


def torch_saved(path, found):
  """What a training script saves, by torch.save; arrays become tensors."""
  torch = pytest.importorskip("torch")

  def turned(value):
    return (
      {key: turned(inner) for key, inner in value.items()}
      if isinstance(value, dict)
      else torch.from_numpy(value)
      if isinstance(value, np.ndarray)
      else value
    )

  torch.save(turned(found), path)
  return path


@pytest.mark.parametrize("name", ["n.pth.tar", "n.ckpt", "n.bin", "n.PTH", "n", "n.safetensors"])
def test_torch_files_are_known_by_what_they_hold(tmp_path, name):
  found = files.read(torch_saved(tmp_path / name, NAMED))
  np.testing.assert_array_equal(found.tensors["a.weight"], NAMED["a.weight"])


@pytest.mark.parametrize("name", ["n.bin", "n.pth", "N.SAFETENSORS", "n"])
def test_safetensors_are_known_by_what_they_hold(tmp_path, name):
  found = files.read(random_weights.saved(tmp_path / name, NAMED))
  np.testing.assert_array_equal(found.tensors["a.weight"], NAMED["a.weight"])


@pytest.mark.parametrize("name", ["n.CaffeModel", "n.pth", "n"])
def test_caffe_files_are_known_by_what_they_hold(tmp_path, name):
  (tmp_path / name).write_bytes(caffemodel.layer("a", "InnerProduct", [NAMED["a.weight"]]))
  found = files.read(tmp_path / name)
  np.testing.assert_array_equal(found.tensors["a.weight"], NAMED["a.weight"])


@pytest.mark.parametrize(
  ("data", "what"),
  [
    (b"<!DOCTYPE html><html>not found</html>", "but a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull fetches the file itself"),
    (b"\x89HDF\r\n\x1a\n", "but an HDF5 file, as Keras writes"),
    (b"\x1f\x8b\x08", "but compressed; unpack it with gunzip"),
  ],
)
def test_what_is_no_weights_file_is_named(tmp_path, data, what):
  (tmp_path / "net.pth").write_bytes(data)
  assert what in refused(tmp_path / "net.pth")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_weights_among_other_things(tmp_path, key):
  path = torch_saved(tmp_path / "net.pth", {"epoch": 3, "optimizer": {"state": {}}, key: NAMED})
  found = files.read(path)
  assert found.tensors.keys() == NAMED.keys() and not found.note


def test_weights_under_a_name_that_is_not_known(tmp_path):
  path = torch_saved(tmp_path / "net.pth", {"epoch": 3, "teacher": NAMED, "student": NAMED})
  assert refused(path).endswith("such as state_dict; its entries are teacher, student")


AVERAGED = {"a.weight": NAMED["a.weight"] + 1}


@pytest.mark.parametrize("ema", ["state_dict_ema", "model_ema", "ema_state_dict"])
def test_averaged_weights(tmp_path, ema):
  """Alone they are taken; beside raw ones --ema chooses; which were taken is said."""
  raw = "model" if ema == "model_ema" else "state_dict"
  alone = torch_saved(tmp_path / "alone.pth", {ema: AVERAGED, "epoch": 3})
  both = torch_saved(tmp_path / "both.pth", {raw: NAMED, ema: AVERAGED})
  for path, asked, expected, note in (
    (alone, False, AVERAGED, f"took {ema}, the file's only weights"),
    (alone, True, AVERAGED, f"took {ema}, the file's only weights"),
    (both, False, NAMED, f"took {raw}, not {ema}, which resnet_jax.convert --ema takes"),
    (both, True, AVERAGED, f"took {ema}, not {raw}"),
  ):
    found = files.read(path, asked)
    np.testing.assert_array_equal(found.tensors["a.weight"], expected["a.weight"])
    assert found.note == note


def test_averaged_weights_that_are_not_there(tmp_path):
  path = random_weights.saved(tmp_path / "net.safetensors", NAMED)
  with pytest.raises(
    UserError, match="--ema: .* holds no averaged weights, such as state_dict_ema"
  ):
    files.read(path, ema=True)


PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "backbone.", "backbone.body."]
NESTED = ["module._orig_mod.", "_orig_mod.module.", "model.module.backbone.body.", "net.model."]


@pytest.mark.parametrize("prefix", PREFIXES + NESTED)
def test_prefixes(tmp_path, prefix):
  named = {f"{prefix}{name}": value for name, value in NAMED.items()}
  found = files.read(random_weights.saved(tmp_path / "net.safetensors", named | {"b": np.ones(1)}))
  assert found.tensors.keys() == {*NAMED, "b"}


def test_two_nets_in_one_file(tmp_path):
  named = {f"{prefix}a.weight": NAMED["a.weight"] for prefix in ("model.", "net.")}
  text = refused(random_weights.saved(tmp_path / "net.safetensors", named))
  assert text.endswith("more than one net: a.weight is there as model.a.weight and as net.a.weight")


@pytest.mark.parametrize("what", ["Namespace", "scalar"])
def test_how_to_strip_a_file(tmp_path, monkeypatch, what):
  """The command that is named makes a file that can be read."""
  monkeypatch.chdir(tmp_path)
  more = argparse.Namespace(lr=0.1) if what == "Namespace" else np.float64(76.1)
  given = {"model": NAMED, "args": more, "best": {"metric": more}, "epoch": 3}
  path = torch_saved(tmp_path / "it's 1.pth", given)
  text = refused(path)
  assert f"more than tensors ({'argparse.Namespace' if what == 'Namespace' else 'numpy.'}" in text
  assert "; it is not read, as a pickle may run code. If you trust the file, strip it where" in text
  python, flag, code = shlex.split(text.split("no harm: ")[1])
  assert (python, flag) == ("python", "-c")
  exec(code, {})
  found = files.read(tmp_path / "it's 1-stripped.pth")
  np.testing.assert_array_equal(found.tensors["a.weight"], NAMED["a.weight"])


def test_no_advice_to_run_what_is_no_data(tmp_path):
  torch_saved(tmp_path / "net.pth", {"model": NAMED, "more": Harmful(tmp_path / "made")})
  assert refused(tmp_path / "net.pth").endswith("as a pickle may run code")


def typed(path, type_, size, length=0):
  """A .safetensors file whose one tensor is of that type, and whose header is at least so long."""
  header = {"a.weight": {"dtype": type_, "shape": [4], "data_offsets": [0, size]}}
  encoded = json.dumps(header).encode().ljust(length)
  path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(size))
  return path


@pytest.mark.parametrize("first", [b"<", b"\n", b"\x12", b"\x80"])
def test_the_length_of_a_header_looks_like_another_kind(tmp_path, first):
  path = typed(tmp_path / "net", "F32", 16, length=256 + first[0])
  assert path.read_bytes()[:1] == first
  assert files.read(path).tensors.keys() == {"a.weight"}


@pytest.mark.parametrize("type_", ["F8_E4M3", "F8_E5M2", "C64"])
def test_types_that_are_not_supported(tmp_path, type_):
  text = refused(typed(tmp_path / "net.safetensors", type_, 32 if type_ == "C64" else 4))
  assert f": a.weight is of type {type_}, which is not supported; save the weights as" in text


@pytest.mark.parametrize("type_", ["float8_e4m3fn", "complex64", "quint8"])
def test_types_of_torch_that_are_not_supported(tmp_path, type_):
  torch = pytest.importorskip("torch")
  tensor = torch.ones(3)
  if type_ == "quint8":
    tensor = torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8)
  else:
    tensor = tensor.to(getattr(torch, type_))
  torch.save({"a.weight": tensor}, tmp_path / "net.pth")
  assert f"a.weight is of type {type_}, which is not supported" in refused(tmp_path / "net.pth")


def test_sparse_tensors(tmp_path):
  torch = pytest.importorskip("torch")
  torch.save({"a.weight": torch.ones(3).to_sparse()}, tmp_path / "net.pth")
  assert "a.weight is sparse or holds no values" in refused(tmp_path / "net.pth")
