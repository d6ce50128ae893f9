"""The package as a library: what the README shows, and runs loaded again."""

import re

import numpy as np
import pytest

import resnet_jax
from resnet_jax import api, data
from resnet_jax.sweep import plan
from resnet_jax.training import setup


@pytest.mark.slow
def test_the_readme_does_what_it_shows(tmp_path, repository, monkeypatch):
  (tmp_path / "configs").symlink_to(repository / "configs")
  monkeypatch.chdir(tmp_path)
  readme = (repository / "README.md").read_text()
  sweep_file, notebook = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
  (tmp_path / "mine.py").write_text(sweep_file)
  assert len(plan.check(plan.read("mine.py:digits", {}), tmp_path / "new")) == 12
  shown: dict = {"__name__": "__main__"}
  exec(notebook, shown)
  assert shown["result"]["status"] == "done"
  assert shown["logits"].shape == (360, 10)


def halved(unit, x, key):
  return unit.config.shortcut_scale * unit.project(x), 1.0


def wide(width):
  return [(3, width), (1, 2 * width), (3, width)]


@pytest.mark.slow
def test_a_shortcut_and_a_unit_of_ones_own(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  for _ in range(2):  # a notebook's cell runs again
    resnet_jax.shortcut("halved")(halved)
    resnet_jax.unit("wide")(wide)
  with pytest.raises(resnet_jax.UserError, match="'halved' is registered already"):
    resnet_jax.shortcut("halved")(wide)
  config = resnet_jax.load_config("configs/resnet.py:depth=11,unit=wide,digits")
  config.model.shortcut, config.model.shortcut_scale, config.train.steps = "halved", 0.5, 2
  result = resnet_jax.train_run(config, tmp_path / "run")
  run = resnet_jax.load_run(tmp_path / "run")
  test = resnet_jax.load_data(config.data).test
  logits = run(test.images)
  assert logits.shape == (360, 10)
  assert repr(run) == "Run(cifar wide-11, halved, original, digits, step 2)"
  with pytest.raises(resnet_jax.UserError, match="images of type float64; give uint8"):
    run(test.images / 255)
  wrong = np.mean(np.argmax(logits, -1) != test.targets)
  assert 100 * wrong == pytest.approx(result["test_error"])
  model = resnet_jax.build_model(config.model, classes=10)
  np.testing.assert_array_equal(
    model.apply(run.variables, np.zeros((1, 8, 8, 1))),
    run.model.apply(run.variables, np.zeros((1, 8, 8, 1))),
  )


def test_what_a_notebook_shows_is_a_line(repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = resnet_jax.load_config("configs/resnet.py:depth=20,digits")
  variables = {"params": np.zeros((100, 100))}
  run = api.Run(config, None, variables, 1440, data.info(config.data), (0, 1))
  assert repr(run) == "Run(cifar basic-20, identity, original, digits, step 1440)"
  digits = resnet_jax.load_data(config.data)
  assert repr(digits) == (
    f"Dataset(digits, 8 x 8 x 1, 1437 to train on, 360 to test on, {digits.fingerprint})"
  )
  assert repr(digits.test) == "Split(360 images, 8 x 8 x 1)"
  many = data.describe(config.data, (224, 224, 3), tuple(map(str, range(1000))))
  assert repr(many) == "Info(digits, 224 x 224 x 3, 1000 classes, pad=0, flip=False)"
  for shown in (resnet_jax.build_model(config.model, classes=10), api.learner(config, run.info)):
    assert len(repr(shown)) < 2500
  made = setup.setup(config)
  assert repr(made) == "Setup(cifar basic-20, identity, original, digits, 1440 steps)"
