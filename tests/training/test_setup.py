"""What a config comes to before the first step."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from resnet_jax import api
from resnet_jax.config import DROPS, default_config, load_file
from resnet_jax.errors import UserError
from resnet_jax.training import setup


def test_large_batches_of_many_photographs(repository, monkeypatch, tmp_path):
  monkeypatch.chdir(repository)
  Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
  for split, count in (("train", 300_000), ("val", 1)):
    (tmp_path / f"{split}.txt").write_text("a.png one\n" * count)
  config = load_file("configs/imagenet/resnet18.py:large_batch,list")
  config.data.dir = str(tmp_path)
  run = setup.setup(config)
  assert run.dataset.train_examples * config.data.batch_size > 2**31
  assert run.template.params["stem"]["conv"]["kernel"].shape == (7, 7, 3, 64)
  assert float(run.learning_rate(jnp.int32(6 * 37))) > 3


def test_float64_is_turned_on_by_the_config(repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype = "float64"
  assert not jax.config.jax_enable_x64
  kernel = setup.setup(config).template.params["stem"]["conv"]["kernel"]
  assert kernel.dtype == jnp.float64


def new_run(batch_size=128, examples=1437, **settings):
  """As much of a `Setup` as tells what does nothing."""
  config = default_config()
  config.data.batch_size = batch_size
  config.optim.update(settings)
  durations = setup.Durations(1000, 1, 1, 1)
  return types.SimpleNamespace(
    config=config, durations=durations, dataset=types.SimpleNamespace(train_examples=examples)
  )


@pytest.mark.parametrize(
  ("run", "message"),
  [
    (new_run(5000), "batch_size=5000 is more than the 1437 examples .*; take at most 1437"),
    (new_run(drop_at="2000"), "drop_at='2000' comes after the end of the run: step 2000 of 1000"),
    (new_run(drop_at="500, 1001 steps"), "step 1001 of 1000; drop the rate before it, as at '50%"),
    (new_run(drop_at="150%"), "step 1500 of 1000"),
    (new_run(drop_at="90 epochs"), "step 1011 of 1000"),
  ],
)
def test_what_does_nothing_with_these_data_is_refused(run, message):
  with pytest.raises(UserError, match=message):
    setup.refuse_idle(run)


@pytest.mark.parametrize(
  "run",
  [
    new_run(1437),
    new_run(drop_at="1000"),  # at the end: never
    new_run(drop_at="2000", schedule="cosine"),  # refused without the data
    new_run(drop_at=DROPS["torch"], batch_size=1),  # of a recipe that is cut short
  ],
)
def test_what_fits_is_not(run):
  setup.refuse_idle(run)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_images_are_normalized_in_the_type_of_the_run(repository, monkeypatch, x64, dtype):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype = dtype
  run = setup.setup(config)
  constants = (*run.normalization, *run.train.normalization, *run.test.normalization)
  assert {constant.dtype for constant in constants} == {run.learner.task.dtype}
  exact = run.dataset.images.mean(0, dtype=np.longdouble) / 255
  np.testing.assert_allclose(
    run.normalization.mean, exact, rtol=np.finfo(run.learner.task.dtype).eps, atol=0
  )


def test_a_float64_run_is_loaded_with_its_constants(repository, monkeypatch, tmp_path):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype = "float64"
  run = setup.setup(config)
  position = {"step": 0, "data": run.dataset.fingerprint}
  restored = run.dataset.info, run.learner, run.template, position
  monkeypatch.setattr(api, "restore", lambda *_: restored)
  monkeypatch.setattr(api, "own_config", lambda *_: config)
  loaded = api.load_run(tmp_path)
  for mine, theirs in zip(loaded.normalization, run.normalization, strict=True):
    assert mine.dtype == jnp.float64
    np.testing.assert_array_equal(mine, theirs)
