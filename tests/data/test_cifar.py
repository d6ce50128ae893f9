"""CIFAR prepared from miniatures of the authors' archives, over a server of this machine."""

import contextlib
import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from resnet_jax import data
from resnet_jax.config import default_config
from resnet_jax.data import cifar
from resnet_jax.errors import UserError

SIZES = {"data_batch": 4, "test_batch": 6, "train": 20, "test": 6}
NAMES = {
  "cifar10": [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"],
  "cifar100": ["train.bin", "test.bin"],
}


def miniature(name: str) -> tuple[bytes, dict[str, np.ndarray]]:
  """The archive, and the records of its files: uint8 [N, labels + 3072]."""
  random = np.random.default_rng(7)
  labels = [10] if name == "cifar10" else [20, 100]
  records = {}
  for file in NAMES[name]:
    count = next(size for start, size in SIZES.items() if file.startswith(start))
    columns = [random.integers(0, classes, (count, 1)) for classes in labels]
    records[file] = np.hstack([*columns, random.integers(0, 256, (count, 3072))]).astype(np.uint8)
  texts = {"batches.meta.txt": "class {}\n"} if name == "cifar10" else {}
  texts |= {"coarse_label_names.txt": "", "fine_label_names.txt": ""} if name == "cifar100" else {}
  folder = "cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary"
  files = {file: array.tobytes() for file, array in records.items()}
  for text, classes in zip(sorted(texts), sorted(labels), strict=True):
    files[text] = ("\n".join(f"name_{i}" for i in range(classes)) + "\n\n").encode()
  archive = io.BytesIO()
  with tarfile.open(fileobj=archive, mode="w:gz") as tar:
    for file, content in files.items():
      member = tarfile.TarInfo(f"{folder}/{file}")
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  return archive.getvalue(), records


class Server(http.server.ThreadingHTTPServer):
  """Serves `content` under any path; breaks off once after `breaks_at` bytes."""

  content = b""
  breaks_at: int | None = None

  def __init__(self):
    super().__init__(("127.0.0.1", 0), Handler)
    self.requests: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    wanted = self.headers["Range"]
    self.server.requests.append(wanted)
    first = int(wanted.removeprefix("bytes=").removesuffix("-"))
    body = self.server.content[first:]
    self.send_response(206 if first else 200)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    stop, self.server.breaks_at = self.server.breaks_at, None
    with contextlib.suppress(ConnectionError):
      self.wfile.write(body[:stop])

  def log_message(self, *_):
    pass


@pytest.fixture
def server():
  with Server() as running:
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def config(name, folder):
  tree = default_config().data
  tree.update({"name": name, "dir": str(folder)})
  return tree


def publish(server, monkeypatch, name, sha256=None):
  """Lets `name` be found on `server`; returns the records of its files."""
  server.content, records = miniature(name)
  digest = sha256 or hashlib.sha256(server.content).hexdigest()
  url = f"http://127.0.0.1:{server.server_port}/{name}.tar.gz"
  monkeypatch.setattr(cifar, "source", lambda _: (url, len(server.content), digest))
  return records


def rows(images, labels):
  """Examples as a set, whatever their order."""
  flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
  return sorted(map(tuple, np.hstack([labels[:, None], flat]).tolist()))


@pytest.mark.parametrize("name", cifar.NAMES)
def test_prepares_what_tfds_reads(name, server, monkeypatch, tmp_path):
  records = publish(server, monkeypatch, name)
  loaded = data.load(config(name, tmp_path))
  skip = 1 if name == "cifar100" else 0  # the coarse label comes first
  test = records[NAMES[name][-1]][:, skip:]
  train = np.concatenate([records[file][:, skip:] for file in NAMES[name][:-1]])
  assert rows(*loaded.train) == sorted(map(tuple, train.tolist()))
  assert rows(*loaded.test) == sorted(map(tuple, test.tolist()))
  assert len(loaded.info.classes) == 10 ** (1 + skip)
  assert loaded.info.classes[3] == "name_3"
  files = {path.name for path in (tmp_path / name / "3.0.2").iterdir()}
  assert {f"{name}-{split}.array_record-00000-of-00001" for split in ("train", "test")} < files
  assert "tensorflow" not in sys.modules

  again = data.load(config(name, tmp_path))
  assert again.fingerprint == loaded.fingerprint
  assert len(server.requests) == 1
  assert not list((tmp_path / "downloads").glob("*.tar.gz*"))


def test_goes_on_where_it_was_cut_off(server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10")
  server.breaks_at = 20_000
  with pytest.raises(UserError, match=r"broke off after 20000 of .*TFDS_DATA_DIR.*digits"):
    data.load(config("cifar10", tmp_path))
  assert not (tmp_path / "cifar10").exists()
  assert len(data.load(config("cifar10", tmp_path)).train.targets) == 20
  assert server.requests == ["bytes=0-", "bytes=20000-"]


def test_a_wrong_archive_is_refused_and_removed(server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10", sha256="0" * 64)
  with pytest.raises(UserError, match="SHA-256"):
    data.load(config("cifar10", tmp_path))
  assert not list((tmp_path / "downloads").iterdir())
  publish(server, monkeypatch, "cifar10")
  assert len(data.load(config("cifar10", tmp_path)).test.targets) == 6


def test_without_network_the_ways_out_are_named(server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10")
  server.shutdown()
  server.server_close()
  with pytest.raises(UserError, match=r"cannot be reached.*TFDS_DATA_DIR.*digits") as caught:
    data.load(config("cifar10", tmp_path))
  assert "\n" not in str(caught.value)


def test_runs_that_start_together_download_once(server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10")
  with ThreadPoolExecutor(3) as threads:
    loads = list(threads.map(lambda _: data.load(config("cifar10", tmp_path)), range(3)))
  assert len({loaded.fingerprint for loaded in loads}) == 1
  assert len(server.requests) == 1


def damage_byte(file):
  content = bytearray(file.read_bytes())
  content[2000] ^= 1
  file.write_bytes(content)


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (damage_byte, r"example 0 of split 'train' of cifar10 in .*damaged.*hash mismatch"),
    (lambda file: os.truncate(file, 100_000), "example 0 of split 'train' of cifar10 in .*damaged"),
    (lambda file: file.unlink(), "damaged: .*No such file.*cifar10-train"),
    (lambda file: (file.parent / "dataset_info.json").write_text('{"'), "cannot be opened: .*JSON"),
  ],
)
def test_damaged_files_are_named(damage, message, server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10")
  data.load(config("cifar10", tmp_path))
  damage(tmp_path / "cifar10/3.0.2/cifar10-train.array_record-00000-of-00001")
  with pytest.raises(UserError, match=message) as caught:
    data.load(config("cifar10", tmp_path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("replace", "message"),
  [
    (lambda image: image[: len(image) // 2], "damaged"),
    (lambda image: b"no image", "cannot identify image"),
    (lambda image: encoded(np.zeros((8, 8, 3), np.uint8)), "it has 8 x 8 pixels"),
  ],
)
def test_damaged_images_are_named(replace, message, server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10")
  whole = cifar._examples

  def examples(split, *args):
    for index, example in whole(split, *args):
      broken = index == 2 and split == "test"
      yield index, example | ({"image": replace(example["image"])} if broken else {})

  monkeypatch.setattr(cifar, "_examples", examples)
  with pytest.raises(UserError, match=rf"example \d of split 'test' of cifar10 .*{message}"):
    data.load(config("cifar10", tmp_path))


def encoded(image):
  file = io.BytesIO()
  Image.fromarray(image).save(file, "PNG")
  return file.getvalue()


def test_a_split_that_is_not_there_is_refused(server, monkeypatch, tmp_path):
  publish(server, monkeypatch, "cifar10")
  settings = config("cifar10", tmp_path)
  for settings.train_split in ("validation", "train[:21]", "train["):
    with pytest.raises(UserError, match=r"config.data.train_split=.*train \(20 examples\)"):
      data.load(settings)
  settings.train_split = "train[:75%]"
  assert len(data.load(settings).train.targets) == 15


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set")
@pytest.mark.parametrize("name", cifar.NAMES)
def test_the_real_sets(name):
  loaded = data.load(config(name, ""))
  assert loaded.train.images.shape == (50_000, 32, 32, 3)
  counts = np.bincount(loaded.test.targets)
  np.testing.assert_array_equal(counts, 10_000 // len(loaded.info.classes))


def test_the_archives_are_the_ones_tfds_knows():
  import tensorflow_datasets as tfds

  for name in cifar.NAMES:
    url, size, sha256 = cifar.source(tfds.builder(name))
    assert url.startswith("https://www.cs.toronto.edu/~kriz/")
    assert size > 160_000_000
    assert len(sha256) == 64
