"""Folders, lists and TFDS sets of photographs; slices; and what is wrong with them by name."""

import os
import pickle
import sys

import make
import numpy as np
import pytest

from resnet_jax.config import default_config
from resnet_jax.data.photos import sources, unreadable
from resnet_jax.data.photos.unreadable import Unreadable
from resnet_jax.errors import UserError


def config(root, name="folder", **settings):
  tree = default_config().data
  tree.update({"name": name, "dir": str(root)} | settings)
  return tree


def labels(source):
  return [source[i][1] for i in range(len(source))]


@pytest.fixture
def root(tmp_path):
  make.folder(tmp_path, {"cat": 10, "ant": 20, "bee": 5})
  make.folder(tmp_path, {"cat": 2, "bee": 1}, "val")
  return tmp_path


def test_a_folder_a_class(root):
  (root / "train" / "ant" / "notes.md").write_text("no photograph")
  (root / "train" / ".cache").mkdir()
  (root / "train" / "cat" / "UPPER.JPeG").write_bytes(make.encoded())
  train, test = sources.load(config(root))
  assert train.classes == test.classes == ("ant", "bee", "cat")
  assert labels(train) == [0] * 20 + [1] * 5 + [2] * 11
  assert labels(test) == [1, 2, 2]  # test is not there, val is
  assert train[3][0] == (root / "train" / "ant" / "003.jpg").read_bytes()
  assert train.name(3) == str(root / "train" / "ant" / "003.jpg")
  assert repr(train) == repr(sources.load(config(root))[0])


def test_slices_share_every_class(root):
  whole = sources.load(config(root))[0]
  names = [whole.name(i) for i in range(35)]
  parts = [
    sources.load(config(root, train_split=f"train{part}"))[0] for part in ("[:80%]", "[80%:]")
  ]
  assert [list(np.bincount(labels(part))) for part in parts] == [[16, 4, 8], [4, 1, 2]]
  chosen = [[part.name(i) for i in range(len(part))] for part in parts]
  assert sorted(sum(chosen, [])) == names
  assert all(part == sorted(part) for part in chosen)
  few = sources.load(config(root, train_split="train[:3]"))[0]
  assert few.classes == whole.classes
  train, test = sources.load(
    config(root, train_split="train[:20%] + train[80%:]", test_split="test[:1]+test[2:]")
  )
  assert list(np.bincount(labels(train))) == [8, 2, 4]
  assert {train.name(i) for i in range(14)} > {parts[1].name(i) for i in range(7)}
  assert len(test) == 2  # of val


def test_the_fingerprint_is_of_names_labels_and_sizes(root, tmp_path_factory):
  def fingerprint(**settings):
    return sources.load(config(root, **settings))[0].fingerprint

  first = fingerprint()
  elsewhere = tmp_path_factory.mktemp("elsewhere")
  make.folder(elsewhere, {"cat": 10, "ant": 20, "bee": 5})
  moved = sources.load(config(elsewhere, test_split="train"))[0]
  assert moved.fingerprint == first == fingerprint(test_split="train")
  assert fingerprint(train_split="train[:34]") != first
  file = root / "train" / "bee" / "000.jpg"
  file.write_bytes(file.read_bytes() + b"\0")
  longer = fingerprint()
  file.rename(file.with_name("900.jpg"))
  assert len({first, longer, fingerprint()}) == 3


def test_a_list(tmp_path):
  for name in ("a.jpg", "with blank.jpg", "c.png"):
    (tmp_path / name).write_bytes(name.encode())
  (tmp_path / "train.txt").write_text("# all\nc.png 10\n\nwith blank.jpg\t9\n  a.jpg 10\n")
  (tmp_path / "val.txt").write_text("a.jpg 9\n")
  train, test = sources.load(config(tmp_path, "list"))
  assert train.classes == ("9", "10")
  assert [train[i] for i in range(3)] == [(b"c.png", 1), (b"with blank.jpg", 0), (b"a.jpg", 1)]
  assert [test[0], len(test)] == [(b"a.jpg", 0), 1]
  (tmp_path / "train.txt").write_text("a.jpg zebra\nc.png ant\n")
  (tmp_path / "val.txt").write_text("c.png zebra\n")
  assert sources.load(config(tmp_path, "list"))[0].classes == ("ant", "zebra")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_list_may_begin_with_the_mark_of_utf_8(tmp_path, ends):
  name = "größe.jpg"
  (tmp_path / name).write_bytes(b"1")
  (tmp_path / "b.jpg").write_bytes(b"2")
  text = f"{name} groß{ends}b.jpg klein{ends}"
  (tmp_path / "train.txt").write_bytes(text.encode("utf-8-sig"))
  (tmp_path / "val.txt").write_bytes(text.encode("utf-8"))
  train, test = sources.load(config(tmp_path, "list"))
  assert train.classes == ("groß", "klein")
  assert [train[0], train[1]] == [test[0], test[1]] == [(b"1", 0), (b"2", 1)]


def test_names_that_are_no_utf_8_stay_what_they_are(tmp_path):
  (tmp_path / "train.txt").write_bytes(b"gr\xf6\xdfe.jpg 1\n")
  with open(os.fsencode(tmp_path) + b"/gr\xf6\xdfe.jpg", "wb") as file:
    file.write(b"1")
  train, _ = sources.load(config(tmp_path, "list", test_split="train"))
  assert train[0] == (b"1", 0)


def test_sources_travel_to_other_processes(root):
  train = sources.load(config(root))[0]
  sent = pickle.loads(pickle.dumps(train))
  assert [sent[7], sent.name(7), repr(sent)] == [train[7], train.name(7), repr(train)]


def test_a_file_that_has_gone_is_unreadable_and_keeps_its_label(root):
  train = sources.load(config(root))[0]
  (root / "train" / "bee" / "001.jpg").unlink()
  with pytest.raises(Unreadable, match="No such file") as caught:
    train[21]
  assert pickle.loads(pickle.dumps(caught.value)).label == 1


def test_a_file_that_does_not_fit_in_memory_is_unreadable(root, monkeypatch):
  def too_large(*_):
    raise MemoryError

  train = sources.load(config(root))[0]
  monkeypatch.setattr(unreadable, "open", too_large, raising=False)
  with pytest.raises(Unreadable, match="not enough memory") as caught:
    train[21]
  assert caught.value.label == 1


def empty_class(root):
  (root / "train" / "dog").mkdir()


def only_in_val(root):
  make.folder(root, {"dog": 1}, "val")


def lists(train, test="a.jpg 1\n"):
  def write(root):
    (root / "a.jpg").write_bytes(b"")
    (root / "train.txt").write_text(train)
    (root / "val.txt").write_text(test)

  return write


def encoded_list(encoding):
  def write(root):
    lists("")(root)
    (root / "train.txt").write_bytes("a.jpg 1\n".encode(encoding))

  return write


def list_with_a_folder(root):
  lists("a.jpg 1\nalbum.jpg 1\n")(root)
  (root / "album.jpg").mkdir()


def list_with_a_dangling_link(root):
  lists("a.jpg 1\nlink.jpg 1\n")(root)
  (root / "link.jpg").symlink_to("nowhere")


def nothing(root):
  pass


@pytest.mark.parametrize(
  ("change", "settings", "message"),
  [
    (nothing, {"dir": "/nonexistent"}, "config.data.dir='/nonexistent' is no folder.*<label>"),
    (nothing, {"dir": "", "name": "list"}, r"config.data.dir='' is no folder.*<split>\.txt"),
    (nothing, {"train_split": "training"}, "train_split='training'.*no split.*it has train, val"),
    (nothing, {"test_split": "tests"}, "config.data.test_split='tests': .*it has train, val"),
    (nothing, {"train_split": "train[:99]"}, r"'train\[:99\]' selects no.*train \(35 examples\)"),
    (nothing, {"train_split": "train["}, "selects no examples"),
    (nothing, {"train_split": "train[90%:10%]"}, r"train\[32:4\] ends before it begins"),
    (nothing, {"train_split": "train[5:3]"}, r"train\[5:3\] ends before it begins"),
    (nothing, {"train_split": "train[7:7]"}, "the slice is empty"),
    (nothing, {"train_split": "train+val"}, "'train' and 'val' are two splits; a sum takes"),
    (lists("a.jpg 1\n"), {"name": "list", "train_split": "train[1:0]"}, "ends before it begins"),
    (empty_class, {}, r"config.data.train_split='train': .*train/dog holds no photograph"),
    (only_in_val, {}, "test_split='test': the label 'dog' is not in .*whose 3 labels"),
    (nothing, {"name": "list"}, "has no split 'train' .*it has none"),
    (lists("a.jpg 1\nb.jpg 1\n"), {"name": "list"}, "line 2 of .*train.txt names 'b.jpg', which"),
    (lists("a.jpg\n"), {"name": "list"}, "line 1 of .*train.txt is 'a.jpg', not 'path label'"),
    (lists("a.jpg 1", "a.jpg 2"), {"name": "list"}, "the label '2' is not in"),
    (lists("# none\n"), {"name": "list"}, "train.txt lists nothing"),
    (list_with_a_folder, {"name": "list"}, "line 2 of .*names 'album.jpg', which is a folder"),
    (list_with_a_dangling_link, {"name": "list"}, "line 2 of .*names 'link.jpg', which is not in"),
    (encoded_list("utf-16"), {"name": "list"}, "train.txt is UTF-16; save it as UTF-8$"),
    (encoded_list("utf-32"), {"name": "list"}, "train.txt is UTF-32; save it as UTF-8$"),
    (encoded_list("utf-16-le"), {"name": "list"}, r"is not UTF-8 \(it holds zero bytes\); save"),
  ],
)
def test_what_is_wrong_is_named(root, change, settings, message):
  change(root)
  with pytest.raises(UserError, match=message) as caught:
    sources.load(config(root, **settings))
  assert "\n" not in str(caught.value)


def prepare(folder, images):
  """Writes a miniature of imagenet2012 as TFDS would: the images in two splits."""
  import tensorflow_datasets as tfds

  builder = tfds.builder("imagenet2012", data_dir=folder)

  def examples(split):
    for number, image in enumerate(images):
      yield number, {"file_name": f"{split}{number}.JPEG", "image": image, "label": number % 7}

  builder._split_generators = lambda _: {name: examples(name) for name in ("train", "validation")}
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
  )


def test_a_tfds_set_whose_images_differ_in_size(tmp_path):
  images = [make.encoded(20 + i, 30, i) for i in range(12)]
  prepare(tmp_path, images)
  settings = config(tmp_path, "imagenet2012", train_split="train[:75%]", test_split="validation")
  train, test = sources.load(settings)
  assert (len(train), len(test), len(train.classes)) == (9, 12, 1000)
  found = dict(test[i] for i in range(12))
  assert found == {image: i % 7 for i, image in enumerate(images)}
  sent = pickle.loads(pickle.dumps(train))
  assert [sent[4], repr(sent)] == [train[4], repr(train)]
  assert "of split train[:75%] of imagenet2012/" in train.name(4).replace("'", "")
  assert train.fingerprint == sources.load(settings)[0].fingerprint != test.fingerprint
  assert "tensorflow" not in sys.modules

  with pytest.raises(UserError, match=r"test_split='test' selects no.*validation \(12 examples\)"):
    sources.load(config(tmp_path, "imagenet2012"))
  with pytest.raises(UserError, match="tfds build imagenet2012"):
    sources.load(config(tmp_path / "none", "imagenet2012"))
  (file,) = (tmp_path / "imagenet2012").glob("*/*train*array_record*")
  file.write_bytes(file.read_bytes()[:3000])
  with pytest.raises((Unreadable, UserError)):
    sources.load(settings)[0][0]
