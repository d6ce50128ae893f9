"""Which files of a folder are taken, what is left out, and where the user is told."""

import contextlib
import os

import make
import pytest

from resnet_jax import api, data, evaluate
from resnet_jax.config import default_config, load_file
from resnet_jax.data.photos import listing, sources
from resnet_jax.errors import UserError
from resnet_jax.training import train

READ = "endings that are read: .jpg .jpeg .png .webp .gif .bmp"


def config(root, **settings):
  tree = default_config().data
  tree.update({"name": "folder", "dir": str(root), "normalize": "imagenet"} | settings)
  return tree


@pytest.fixture
def root(tmp_path):
  make.folder(tmp_path, {"ant": 2, "bee": 1})
  make.folder(tmp_path, {"ant": 1, "bee": 1}, "val")
  return tmp_path


def others(root):
  """Ten .tif, two .avif, two without an ending and a hidden file, over two classes."""
  ant, bee = root / "train" / "ant", root / "train" / "bee"
  names = [ant / f"{number}.TIF" for number in range(9)] + [bee / "9.tif"]
  names += [ant / "a.avif", bee / "b.avif", ant / "a", bee / "b", ant / ".DS_Store"]
  for name in names:
    name.write_bytes(b"")


TOLD = "14 files were left out: .tif 10, .avif 2, no ending 2; " + READ


def test_a_line_counts_the_endings_that_are_left_out(root):
  before = data.load(config(root))
  others(root)
  found = data.load(config(root, train_split="train[:50%]", test_split="train[50%:]"))
  assert found.notes == (f"{root}/train: {TOLD}",)  # once, though both splits have it
  after = data.load(config(root))
  assert (before.notes, after.notes) == ((), found.notes)
  assert after.fingerprint == before.fingerprint  # so that runs from before can go on


def test_a_line_for_each_folder(root):
  others(root)
  (root / "val" / "bee" / "x.jfif").write_bytes(b"")
  assert data.load(config(root)).notes == (
    f"{root}/train: {TOLD}",
    f"{root}/val: 1 file was left out: .jfif 1; {READ}",
  )


def folder_named_as_an_image(root):
  make.folder(root / "train" / "ant" / "album.jpg", {"x": 1}, "y")


def folder_of_a_class(root):
  make.folder(root / "train" / "ant" / "more", {"x": 1}, "y")


def dangling_link(root):
  (root / "train" / "ant" / "link.jpg").symlink_to(root / "nothing.jpg")


def link_through_a_file(root):
  (root / "train" / "ant" / "link.jpg").symlink_to(root / "train" / "ant" / "000.jpg" / "x.jpg")


def link_to_itself(root):
  (root / "train" / "ant" / "link.jpg").symlink_to("link.jpg")


def dangling_class(root):
  (root / "train" / "cat").symlink_to(root / "nowhere")


def class_that_leads_to_itself(root):
  (root / "train" / "cat").symlink_to("cat")


def queue(root):
  os.mkfifo(root / "train" / "ant" / "queue.jpg")


def beside(root):
  (root / "train" / "loose.jpg").write_bytes(b"")
  (root / "train" / "labels.csv").write_bytes(b"")


def odd_name(root):
  (root / "train" / "ant" / "x.jpg?size=large&more").write_bytes(b"")


@pytest.mark.parametrize(
  ("change", "told"),
  [
    (folder_named_as_an_image, "1 folder was left out: folders 1"),
    (folder_of_a_class, "1 folder was left out: folders 1"),
    (dangling_link, "1 file was left out: dangling links 1"),
    (link_through_a_file, "1 file was left out: dangling links 1"),
    (link_to_itself, "1 file was left out: dangling links 1"),
    (dangling_class, "1 file was left out: dangling links 1"),
    (class_that_leads_to_itself, "1 file was left out: dangling links 1"),
    (queue, "1 file was left out: no regular file 1"),
    (beside, "1 file was left out: beside the class folders 1"),
    (odd_name, "1 file was left out: other endings 1"),
  ],
)
def test_what_is_no_photograph_is_left_out_and_told(root, change, told):
  before = sources.load(config(root))[0]
  change(root)
  train_split, _ = sources.load(config(root))
  assert train_split.left_out == f"{root}/train: {told}; {READ}"
  assert (len(train_split), train_split.classes) == (3, ("ant", "bee"))
  assert train_split.fingerprint == before.fingerprint


def test_a_file_deleted_during_the_scan_is_left_out(root, monkeypatch):
  scandir = os.scandir

  @contextlib.contextmanager
  def deleting(path):
    """Lists what is there and deletes a file before any is looked at."""
    with scandir(path) as entries:
      found = list(entries)
    if str(path).endswith("train/ant"):
      (root / "train" / "ant" / "001.jpg").unlink()
    yield found

  monkeypatch.setattr(os, "scandir", deleting)
  found, _ = sources.load(config(root, test_split="val"))
  told = f"{root}/train: 1 file was left out: dangling links 1; {READ}"
  assert (len(found), found.left_out) == (2, told)


def test_many_kinds_are_cut_to_a_line():
  counts = listing.Counter({f".{letter}": 1 for letter in "abcdefghij"})
  told = "10 files were left out: .a 1, .b 1, .c 1, .d 1, .e 1, .f 1, .g 1, .h 1, others 2"
  assert listing.left_out("x", counts) == f"x: {told}; {READ}"


def test_a_class_without_photographs_says_what_it_holds(root):
  (root / "train" / "cat").mkdir()
  for name in ("a.tif", "b.tif", "c"):
    (root / "train" / "cat" / name).write_bytes(b"")
  message = r"train/cat holds no photograph \(.jpg, .*\), but .tif 2, no ending 1$"
  with pytest.raises(UserError, match=message):
    sources.load(config(root))


def test_below_follows_links_but_not_back(tmp_path):
  photos, linked = tmp_path / "photos", tmp_path / "linked"
  make.folder(photos, {"inner": 1}, "a")
  make.folder(linked, {"other": 1}, "b")
  (photos / "z.PNG").write_bytes(b"")
  (photos / "album.jpg").mkdir()
  (photos / ".hidden").mkdir()
  (photos / ".hidden" / "x.jpg").write_bytes(b"")
  (photos / "a" / "link").symlink_to(linked)
  (linked / "back").symlink_to(photos)
  (photos / "a" / "up").symlink_to(photos / "a")
  (photos / "gone.jpg").symlink_to("nowhere")
  (photos / "notes.txt").write_text("")
  found, told = listing.below(str(photos))
  assert found == ["a/inner/000.jpg", "a/link/b/other/000.jpg", "z.PNG"]
  what = "links to a folder above 2, .txt 1, dangling links 1"
  assert told == f"{photos}: 4 files and folders were left out: {what}; {READ}"


def test_below_tells_of_folders_that_cannot_be_read(tmp_path, monkeypatch):
  make.folder(tmp_path, {"a": 1, "b": 1}, "c")
  look = listing.look

  def closed(folder):
    if folder.endswith("/b"):
      raise PermissionError(13, "Permission denied", folder)
    return look(folder)

  monkeypatch.setattr(listing, "look", closed)
  found, told = listing.below(str(tmp_path))
  assert found == ["c/a/000.jpg"]
  assert "1 folder was left out: folders that cannot be read 1;" in told


@pytest.fixture
def run_config(root, repository, monkeypatch):
  monkeypatch.chdir(repository)
  tree = load_file("configs/imagenet/resnet18.py:folder")
  tree.data.dir, tree.data.batch_size, tree.data.image_size = str(root), 8, 32
  return tree


class Far(Exception):
  """As far as a test has to come."""


def stop(*_, **__):
  raise Far


def test_training_says_it(root, run_config, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(train, "Loop", stop)
  monkeypatch.setattr(train, "refuse_idle", lambda _: None)  # batches of 8 of three photographs
  for change, lines in ((None, []), (others, [f"{root}/train: {TOLD}"])):
    if change:
      change(root)
    with pytest.raises(Far):
      train.train(run_config, tmp_path / "run")
    assert capsys.readouterr().out.splitlines() == lines


def test_evaluation_says_it_once(root, run_config, monkeypatch, capsys):
  monkeypatch.setattr(api, "own_config", lambda *_: run_config)
  monkeypatch.setattr(evaluate, "_restore", lambda *_: None)
  monkeypatch.setattr(evaluate, "_add", lambda *_: 1)
  monkeypatch.setattr(evaluate.evaluation.Tally, "evaluation", stop)
  for change, lines in ((None, []), (others, [f"{root}/train: {TOLD}"])):
    if change:
      change(root)
    with pytest.raises(Far):
      evaluate.evaluate(None, ["runs/a", "runs/b"])
    assert capsys.readouterr().out.splitlines() == lines
