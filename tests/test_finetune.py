"""A run that begins with the weights of another."""

import jax
import numpy as np
import pytest

import resnet_jax
from resnet_jax import finetune, setup, steps, workdir
from resnet_jax.config import load_file


@pytest.fixture(scope="module")
def source(tmp_path_factory, request):
  """A run of some steps on the digits."""
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(request.config.rootpath)
    config = load_file("configs/resnet.py:depth=8,digits")
    config.train.steps = 4
    path = tmp_path_factory.mktemp("source") / "run"
    resnet_jax.train_run(config, path)
  return path


def test_it_begins_with_all_but_the_classifier(source, repository, monkeypatch, tmp_path):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={source}")
  config.finetune.frozen = "stem,stage1"
  run = setup.setup(config)
  fresh = jax.jit(lambda: steps.init(run.task, (8, 8, 1)), out_shardings=run.replicated)()
  state, old = finetune.begin(config, fresh), resnet_jax.load_run(source)
  for tree in ("params", "batch_stats"):
    for part, found in getattr(state, tree).items():
      expected = getattr(fresh, tree) if part == "classifier" else old.variables[tree]
      jax.tree.map(np.testing.assert_array_equal, found, expected[part])
  config.train.steps = 3
  result = resnet_jax.train_run(config, tmp_path / "tuned")
  assert result["status"] == "done"
  tuned = resnet_jax.load_run(tmp_path / "tuned")
  same = jax.tree.map(np.array_equal, tuned.variables, old.variables)
  for part, equal in same["params"].items():
    assert (
      all(jax.tree.leaves(equal)) if part in ("stem", "stage1") else not any(jax.tree.leaves(equal))
    ), part


def test_a_resumed_run_needs_the_weights_no_more(source, repository, monkeypatch, tmp_path):
  monkeypatch.chdir(repository)
  (tmp_path / "moved").symlink_to(source)
  config = load_file(f"configs/finetune.py:weights={tmp_path / 'moved'}")
  config.train.steps, config.optim.schedule = 2, "constant"
  resnet_jax.train_run(config, tmp_path / "tuned")
  (tmp_path / "moved").unlink()
  config.train.steps = 4
  assert resnet_jax.train_run(config, tmp_path / "tuned")["steps"] == 4


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"model.depth": 14}, "of a net with model.depth=8; config.model.depth is 14"),
    ({"finetune.weights": "no/such/run"}, "'no/such/run' is neither a run's folder nor a weights"),
    ({"finetune.frozen": "stage9"}, "config.finetune.frozen='stage9' is unknown; did you mean"),
  ],
)
def test_what_cannot_work_is_refused(source, repository, monkeypatch, tmp_path, settings, message):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={source}")
  config.update_from_flattened_dict(settings)
  with pytest.raises(resnet_jax.UserError, match=message):
    resnet_jax.train_run(config, tmp_path / "tuned")
  assert workdir.read_config(tmp_path / "tuned") is None


def test_another_kind_of_image_is_refused_by_the_layer(source, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file(f"configs/finetune.py:weights={source}")
  run = setup.setup(config)
  colour = setup.template(run.task, (8, 8, 3), run.replicated)
  with pytest.raises(resnet_jax.UserError, match=r"stem/conv/kernel has the shape \(3, 3, 1, 16\)"):
    finetune.begin(config, colour)


@pytest.mark.parametrize("argument", ["weights", "depth=8", "x"])
def test_arguments_of_the_file(repository, monkeypatch, argument):
  monkeypatch.chdir(repository)
  with pytest.raises(resnet_jax.UserError, match="is unknown .* write weights=... or dir=..."):
    load_file(f"configs/finetune.py:{argument}")
