"""Whose convolutions a run computes with: what it says, and that its processes agree."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from resnet_jax import describe
from resnet_jax.config import load_file
from resnet_jax.data.batch import Batch, Normalization
from resnet_jax.distributed import processes
from resnet_jax.native import choice, library
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import setup, steps, train
from tests.many import Processes
from tests.training.test_train import facts, tiny

OTHER = "are not those of a run that was never stopped"


@pytest.fixture(autouse=True)
def at_home(repository, monkeypatch):
  monkeypatch.chdir(repository)


@pytest.fixture
def compiles():
  """For tests of both: skips where there is no compiler."""
  if not library.available():
    pytest.skip("there is no C++ compiler")


def of(kernels, steps=4, dtype="float32"):
  config = tiny(steps=steps)
  config.optim.schedule = "constant"  # the same however many steps there are
  config.model.update(kernels=kernels, dtype=dtype)
  return config


@pytest.mark.parametrize(("dtype", "kernels"), [("bfloat16", "auto"), ("float32", "library")])
def test_nothing_is_compiled_where_it_is_not_used(monkeypatch, dtype, kernels):
  monkeypatch.setattr(library, "load", lambda: pytest.fail("it was loaded"))
  assert choice.choose(of(kernels, dtype=dtype).model).kernels == "library"
  describe.describe(of("auto"))


def test_the_first_line_and_the_result_say_whose_are_used(tmp_path, capsys, monkeypatch):
  used = "own" if library.available() else "library"
  assert train.train(of("auto"), tmp_path / "auto")["kernels"] == used
  assert capsys.readouterr().out.splitlines()[0] == f"kernels: {used}"
  monkeypatch.setattr(library, "available", lambda: False)
  assert train.train(of("auto"), tmp_path / "none")["kernels"] == "library"
  assert capsys.readouterr().out.splitlines()[0] == "kernels: library"
  assert json.loads((tmp_path / "none" / "config.json").read_text())["model"]["kernels"] == "auto"


@pytest.mark.slow
@pytest.mark.usefixtures("compiles")
def test_a_resume_by_others_says_so_once_and_measures_again(tmp_path, capsys):
  run = tmp_path / "run"
  train.train(of("auto"), run)
  capsys.readouterr()
  train.train(of("library", steps=6), run)
  said = capsys.readouterr().out
  assert said.startswith("kernels: library; up to step 4 they were own, ")
  assert said.count(OTHER) == 1
  saved = Checkpoints(run, print).restore(setup.setup(of("library")).template)[1]
  assert saved["kernels"] == "library"
  train.train(of("library", steps=8), run)
  assert OTHER not in capsys.readouterr().out
  done = train.train(of("auto", steps=8), run)  # which takes no step
  assert done["kernels"] == "library" and "kernels" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("compiles")
def test_rows_that_others_measured_behind_the_checkpoint_do_not_stay(tmp_path, monkeypatch):
  run = tmp_path / "run"
  train.train(of("auto"), run)
  measured = facts(run)
  (run / "checkpoints" / "4").rename(tmp_path / "4")
  monkeypatch.setattr(library, "available", lambda: False)  # the config is the same
  train.train(of("auto"), run)
  assert len(facts(run)) == len(measured)
  assert len((run / "metrics.aside").read_text().splitlines()) == 2


def test_one_process_that_has_none_decides_for_all(monkeypatch):
  model = of("auto").model
  monkeypatch.setattr(processes, "in_turn", lambda _: True)
  monkeypatch.setattr(processes, "exchange", lambda mine: [mine, False, mine, False])
  chosen = choice.choose(model)
  assert str(chosen) == "library, as process 1 and 3 cannot compile ours"
  assert choice.with_kernels(model, chosen.kernels).kernels == "library"
  assert model.kernels == "auto"
  monkeypatch.setattr(processes, "exchange", lambda mine: [mine, mine])
  assert choice.with_kernels(model, choice.choose(model).kernels).kernels == "auto"


# The same text in both, as it must be.
ONE_WITHOUT = """
import os, sys
from configs.resnet import get_config
if "--process_id=1" in sys.argv:
  os.environ["PATH"] = os.environ["CXX"] = ""
"""


@pytest.mark.slow
@pytest.mark.usefixtures("compiles")
def test_two_processes_of_which_one_has_no_compiler(tmp_path):
  (tmp_path / "mine.py").write_text(ONE_WITHOUT)
  net = f"--config={tmp_path / 'mine.py'}:depth=8,digits"
  running = Processes(
    2, tmp_path / "logs", net, f"--workdir={tmp_path / 'run'}", "--config.train.steps=2"
  )
  assert running.codes(300) == [0, 0], running.said(0) + running.said(1)
  assert running.said(0).count("kernels: library, as process 1 cannot compile ours") == 1
  assert "no kernels of our own: there is no C++ compiler" in running.said(1)
  assert "kernels: library" not in running.said(1)
  assert json.loads((tmp_path / "run" / "result.json").read_text())["kernels"] == "library"


def temporary(net, kernels):
  """The bytes that a step of 32 examples needs beside its state."""
  config = load_file(f"configs/resnet.py:{net},digits")
  config.model.kernels = kernels
  learner = dataclasses.replace(setup.setup(config).learner, batch_sharding=None)
  images, targets = (
    jax.ShapeDtypeStruct(shape, dtype)
    for shape, dtype in (((32, 32, 32, 1), jnp.uint8), ((32,), jnp.int32))
  )
  one = jax.ShapeDtypeStruct((1,), jnp.float32)
  state = jax.eval_shape(lambda: steps.init(learner, (32, 32, 1)))
  step = jax.jit(lambda *given: steps.train_step(learner, *given))
  lowered = step.lower(state, Batch(images, targets, Normalization(one, one)))
  return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize("net", ["depth=20", "depth=29,unit=bottleneck,after_add=full_preact"])
def test_a_step_needs_no_more_memory(net):
  assert temporary(net, "auto") <= temporary(net, "library")
