"""What a network costs, and the error that stands beside it."""

import json

import jax
import pytest

from resnet_jax import data
from resnet_jax.config import load_file
from resnet_jax.errors import UserError
from resnet_jax.study.measures import cost
from resnet_jax.study.net import Net
from resnet_jax.training import compilation

PREACT = "unit=bottleneck,after_add=full_preact"


def net(spec, folder=None):
  return Net(load_file(f"configs/resnet.py:{spec}"), folder, examples=4)


def result(folder, **changes):
  (folder / "result.json").write_text(json.dumps({"status": "done", "test_error": 3.5} | changes))
  return folder


@pytest.mark.parametrize(
  ("spec", "error"),
  [
    ("depth=20", 8.75),
    ("depth=110", 6.61),
    ("depth=110,after_add=full_preact", 6.37),
    (f"depth=164,{PREACT}", 5.46),
    (f"depth=1001,{PREACT}", 4.92),
    (f"depth=1001,{PREACT},cifar100", 22.71),
  ],
)
def test_errors_are_the_published_ones(spec, error):
  assert cost.error(net(spec)) == error


@pytest.mark.parametrize("spec", ["depth=26", "depth=20,cifar100", "depth=20,digits"])
def test_without_a_publication_a_run_is_asked_for(spec):
  with pytest.raises(UserError, match=r"no error is published of .* with --run"):
    cost.error(net(spec))


def test_a_publication_that_is_but_a_bound_is_none():
  with pytest.raises(UserError, match="no error is published"):
    cost.error(net("depth=110,shortcut=none"))


def test_a_run_has_its_own_error(tmp_path):
  assert cost.error(net("depth=20", result(tmp_path))) == 3.5
  with pytest.raises(UserError, match="has no result yet"):
    cost.error(net("depth=20", result(tmp_path, status="diverged")))


def test_costs_of_a_run(tmp_path):
  given = net("depth=8,digits", result(tmp_path))
  (row,) = cost.cost(given, steps=2)
  leaves = jax.tree.leaves(net("depth=8,digits").variables["params"])
  assert row["error"] == 3.5 and row["params"] == sum(leaf.size for leaf in leaves)
  # The kernels' sizes times the positions of their maps, 8x8, 4x4 and 2x2; then the classifier.
  maps = 64 * 9 * (16 + 2 * 16 * 16) + 16 * 9 * 32 * (16 + 32) + 4 * 9 * 64 * (32 + 64)
  assert row["multiply_adds"] == maps + 640
  assert 8 * row["params"] < row["memory"] * 1e6 and 0 < row["step_time"] < 60


@pytest.mark.slow
def test_memory_grows_with_the_batch(monkeypatch):
  monkeypatch.setattr(data, "load", None)  # nothing is read
  config = load_file("configs/resnet.py:depth=8,digits")
  few, more, most = (cost.step_costs(config, n, 1)["memory"] for n in (64, 128, 192))
  assert more - few == pytest.approx(most - more, rel=0.1)
  # At least a map a convolution is kept for the backward pass: float32, of 16, 32 and 64 channels.
  assert more - few > 64 * 4 * (64 * 16 * 3 + 16 * 32 * 2 + 4 * 64 * 2) / 1e6


def test_planned_bytes_are_those_of_arguments_results_and_between():
  x = jax.ShapeDtypeStruct((1000,), "float32")
  added = jax.jit(lambda x, y: x + y).lower(x, x).compile()
  assert compilation.planned_bytes(added) == 12_000
  in_place = jax.jit(lambda x, y: x + y, donate_argnums=0).lower(x, x).compile()
  assert compilation.planned_bytes(in_place) == 8_000


def test_other_tasks_are_refused():
  config = load_file("configs/resnet.py:depth=8,digits")
  config.task.name = "boxes"
  with pytest.raises(UserError, match=r"config.task.name='boxes' has no errors"):
    cost.cost.check(config)
