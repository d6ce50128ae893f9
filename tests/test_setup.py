"""What a config comes to before the first step."""

import jax
import jax.numpy as jnp
from PIL import Image

from resnet_jax import setup
from resnet_jax.config import load_file


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
