"""Order, exactness for any number of workers, resumption, shares of processes, bad examples."""

import io
import itertools

import make
import numpy as np
import pytest
import tasks
from PIL import Image

from resnet_jax.config import default_config
from resnet_jax.data.photos import examples, pipeline, sources, views
from resnet_jax.errors import UserError

SETTINGS = {"batch_size": 4, "image_size": 32, "crop": "scale_aspect", "seed": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  make.folder(folder, {"ant": 5, "bee": 4, "cat": 2})
  make.folder(folder, {"ant": 3, "cat": 4}, "val")
  return folder


def load(root):
  config = default_config().data
  config.update({"name": "folder", "dir": str(root)})
  return sources.load(config)


def training(source, count=None, **settings):
  with pipeline.training(source, **({"workers": 0} | SETTINGS | settings)) as batches:
    yield from itertools.islice(batches, count)


def same(some, others):
  for one, other in zip(some, others, strict=True):
    assert one.keys() == other.keys()
    for key in one:
      assert one[key].dtype == other[key].dtype
      np.testing.assert_array_equal(one[key], other[key])


class Numbered:
  """A source whose labels are its indices, so that the order shows in the batches."""

  classes, fingerprint = ("all",), "numbered"

  def __init__(self, count, broken=()):
    self.count, self.broken = count, set(broken)
    self.data = make.encoded(30, 40)

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    if index in self.broken:
      return b"broken", index
    return self.data, index

  def name(self, index):
    return f"number {index}"


class Grey(Numbered):
  """Photographs that are all of the grey 20 times their label."""

  def __getitem__(self, index):
    file = io.BytesIO()
    Image.new("RGB", (50, 40), (20 * index,) * 3).save(file, "PNG")
    return file.getvalue(), index


def order(source, count, **settings):
  return np.concatenate([batch["target"] for batch in training(source, count, **settings)])


def test_each_epoch_is_a_fresh_permutation():
  line = order(Numbered(10), 15)
  epochs = line.reshape(6, 10)
  np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (6, 1)))
  assert len({tuple(epoch) for epoch in epochs}) == 6
  others = [tuple(order(Numbered(10), 15, seed=seed).reshape(6, 10)[0]) for seed in (4, 5, 6)]
  assert not {*others} & {tuple(epoch) for epoch in epochs}


def test_batches_have_the_documented_shapes_and_types(root):
  (batch,) = training(load(root)[0], 1)
  assert {key: (value.dtype, value.shape) for key, value in batch.items()} == {
    "image": (np.uint8, (4, 32, 32, 3)),
    "target": (np.int32, (4,)),
    "unreadable": (np.int32, (4,)),
  }
  assert (batch["unreadable"] == -1).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_images_and_labels_belong_together(workers):
  for batch in training(Grey(9), 4, workers=workers):
    np.testing.assert_array_equal(batch["image"][:, 9, 9, 1], 20 * batch["target"])


def test_epochs_crop_differently():
  batches = list(training(Numbered(4), 3))
  assert len({batch["image"].tobytes() for batch in batches}) == 3


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bits(root, workers):
  source = load(root)[0]
  same(training(source, 12), training(source, 12, workers=workers))


@pytest.mark.parametrize("first", [1, 2, 7, 10**12])
def test_a_run_resumes_by_its_step_alone(root, first):
  source = load(root)[0]
  whole = training(source, 4, first_step=first - 1)
  next(whole)
  same(whole, training(source, 3, first_step=first, workers=1))


@pytest.mark.parametrize(("before", "after"), itertools.product([0, 1, 2], repeat=2))
def test_a_state_saved_mid_epoch_goes_on_under_other_workers(root, before, after):
  source = load(root)[0]  # 11 examples: step 4 lies within the second epoch
  with pipeline.training(source, workers=before, **SETTINGS) as batches:
    for _ in range(4):
      next(batches)
    state = batches.get_state()
    expected = list(itertools.islice(batches, 3))
    with pipeline.training(source, workers=after, **SETTINGS) as restored:
      next(restored)
      restored.set_state(state)
      same(itertools.islice(restored, 3), expected)
    batches.set_state(state)
    same(itertools.islice(batches, 3), expected)


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_of_processes_in_order_are_the_whole_batch(root, processes):
  source, settings = load(root)[0], {"batch_size": 7}
  shares = [
    training(source, 5, process=(p, processes), workers=p % 2, **settings) for p in range(processes)
  ]
  joined = (
    {key: np.concatenate([share[key] for share in parts]) for key in parts[0]}
    for parts in zip(*shares, strict=True)
  )
  same(training(source, 5, **settings), joined)


def test_what_cannot_be_read_is_replaced_by_the_next_and_reported():
  source = Numbered(10, broken=[3, 4, 9])
  whole, bad = order(Numbered(10), 5), order(source, 5)
  expected = np.array([{3: 5, 4: 5, 9: 0}.get(int(label), label) for label in whole])
  np.testing.assert_array_equal(bad, expected)
  reported = np.concatenate([batch["unreadable"] for batch in training(source, 5)])
  np.testing.assert_array_equal(reported, np.where(np.isin(whole, [3, 4, 9]), whole, -1))


def test_a_disk_that_has_gone_ends_the_run_with_one_line():
  for workers in (0, 1):
    with pytest.raises(UserError, match="100 examples in a row .*number .*none of JPEG") as caught:
      next(training(Numbered(10, broken=range(10)), 1, workers=workers))
    assert "\n" not in str(caught.value)


def test_an_unknown_crop_is_refused_at_once(root):
  with pytest.raises(UserError, match="config.data.crop='middle'"):
    pipeline.training(load(root)[0], workers=0, **(SETTINGS | {"crop": "middle"}))


def evaluation(source, **settings):
  transform = views.Views("single", 32)
  settings = {"workers": 0, "batch_size": 3, "transform": transform} | settings
  return list(pipeline.evaluation(source, **settings))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_evaluation_sees_every_example_once_in_order(root, workers):
  source = load(root)[1]
  batches = evaluation(source, workers=workers)
  assert [len(batch["index"]) for batch in batches] == [3, 3, 1]
  np.testing.assert_array_equal(np.concatenate([b["index"] for b in batches]), np.arange(7))
  for batch in batches:
    for i, image, label in zip(batch["index"], batch["0"], batch["label"], strict=True):
      data, expected = source[i]
      assert label == expected
      np.testing.assert_array_equal(image, make.torchvision_center(data, 37, 32))


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_evaluation_by_several_processes_loses_and_repeats_nothing(root, processes):
  source = load(root)[1]
  shares = [evaluation(source, process=(p, processes)) for p in range(processes)]
  seen = [[int(i) for batch in share for i in batch["index"]] for share in shares]
  assert seen == [list(range(p, 7, processes)) for p in range(processes)]
  assert len({len(share) for share in shares}) == 1
  assert all(batch["0"].shape[1:] == (32, 32, 3) for share in shares for batch in share)


def test_evaluation_gives_zeros_for_what_cannot_be_read():
  first, second = evaluation(Numbered(5, broken=[0, 4]))
  np.testing.assert_array_equal(first["unreadable"], [0, -1, -1])
  np.testing.assert_array_equal(second["unreadable"], [-1, 4])
  np.testing.assert_array_equal(second["label"], [3, 4])
  assert not first["0"][0].any()
  assert first["0"][1].any()
  (alone,) = evaluation(Numbered(1, broken=[0]))
  assert alone["0"].shape == (1, 32, 32, 3)


def test_a_process_that_ends_is_reported_with_the_names_of_its_examples(root):
  source = load(root)[1]
  first = ", ".join(f"{root}/val/ant/00{number}.jpg" for number in range(3))
  with pytest.raises(UserError) as caught:
    evaluation(source, workers=1, transform=tasks.ending_transform)
  assert str(caught.value).endswith(f"SIGSEGV (Segmentation fault) while it read {first}")
  task = examples.Training(source, 32, "scale", 0)
  assert task.held((17, [4, 0])) == f"{source.name(4)}, {source.name(0)}"


def test_what_decodes_has_imported_no_jax(root):
  assert not any(
    batch["known"].any() for batch in evaluation(load(root)[1], workers=1, transform=tasks.modules)
  )
