"""--mode=eval as a function: ensembles, BN statistics computed anew, and what cannot be tested."""

import jax
import numpy as np
import pytest

import resnet_jax
from resnet_jax import evaluate
from resnet_jax.config import load_file


@pytest.fixture(scope="module")
def runs(tmp_path_factory, request):
  """Two runs of some steps on the digits, from different seeds."""
  root = tmp_path_factory.mktemp("runs")
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(request.config.rootpath)
    config = load_file("configs/resnet.py:depth=8,digits")
  config.train.steps = 4
  for seed in range(2):
    config.seed = seed
    resnet_jax.train_run(config, root / str(seed))
  return [root / "0", root / "1"]


@pytest.mark.slow
def test_an_ensemble_averages_probabilities(runs, tmp_path, capsys):
  found = evaluate.evaluate(None, runs, predictions=str(tmp_path / "both.npz"))
  loaded = [resnet_jax.load_run(run) for run in runs]
  test = resnet_jax.load_data(loaded[0].config.data).test
  shares = np.mean([jax.nn.softmax(run(test.images)) for run in loaded], 0)
  np.testing.assert_array_equal(found.kept["predictions"], shares.argmax(-1))
  loss = -np.log(shares[np.arange(360), test.targets]).mean()
  assert found.metrics["loss"] == pytest.approx(loss, rel=1e-5)
  wrong = int(np.sum(found.kept["predictions"] != test.targets))
  out = capsys.readouterr().out
  assert out.startswith(f"step 4, 4: test error {100 * wrong / 360:.2f} % ({wrong} of 360), top-5")
  saved = np.load(tmp_path / "both.npz")
  np.testing.assert_array_equal(saved["predictions"], found.kept["predictions"])


def test_precise_bn_changes_the_statistics_of_the_test_alone(runs):
  plain = evaluate.evaluate(None, runs[:1])
  precise = evaluate.evaluate(None, runs[:1], test=evaluate.Test(precise_bn=10))
  assert precise.metrics["loss"] != plain.metrics["loss"]
  assert evaluate.evaluate(None, runs[:1]).metrics["loss"] == plain.metrics["loss"]


@pytest.mark.slow
def test_what_cannot_be_tested(runs, tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.data.test_split, config.train.steps = "test[:100]", 4
  resnet_jax.train_run(config, tmp_path / "other")
  refused = [
    ([runs[0], tmp_path / "other"], evaluate.Test(), "is tested on 100 examples of 10 classes of"),
    (runs, evaluate.Test(precise_bn=-1), "--precise_bn=-1 must be 0 or more batches"),
    (runs, evaluate.Test("five-crop"), "--test='five-crop' is unknown; did you mean"),
    (runs, evaluate.Test("10-crop"), "--test=10-crop is for photographs"),
    ([tmp_path / "none"], evaluate.Test(), "holds no run"),
  ]
  for folders, test, message in refused:
    with pytest.raises(resnet_jax.UserError, match=message):
      evaluate.evaluate(None, folders, test=test)


def test_the_papers_numbers_stand_beside_ours(repository, monkeypatch):
  monkeypatch.chdir(repository)
  config = load_file("configs/imagenet/resnet50.py:paper,folder")
  assert evaluate.published(config, 1000) == [
    "  release, ImageNet, single crop 224: 24.7 %, top-5 7.8 %\n",
    "  [R] table 3, ImageNet, 10-crop: 22.85 %, top-5 6.71 %\n",
    "  [R] table 4, ImageNet, multi-scale: 20.74 %, top-5 5.25 %\n",
    "  release, ImageNet, 10-crop: 22.9 %, top-5 6.7 %\n",
  ]
  assert evaluate.published(config, 10) == []
  cifar = load_file("configs/resnet.py:depth=20")
  assert evaluate.published(cifar, 10) == ["  [R] table 6, CIFAR-10: 8.75 %\n"]
