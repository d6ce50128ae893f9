"""The workdir of a run that is under way: when it vanishes, and when the clock jumps."""

import itertools
import signal
import time

import jax
import numpy as np
import pytest

from resnet_jax.training import train
from tests.training.test_train import command, facts, final_state, finish, tiny


@pytest.fixture(scope="module")
def whole(tmp_path_factory, request):
  """The run that nothing happens to."""
  folder = tmp_path_factory.mktemp("record") / "whole"
  assert finish(command(request.config.rootpath, folder, "--config.train.steps=200"))[0] == 0
  return folder


@pytest.mark.slow
@pytest.mark.parametrize(("comes_back", "saving"), [(True, False), (False, False), (False, True)])
def test_a_folder_that_vanishes_is_waited_for_and_what_is_in_its_place_left_alone(
  tmp_path, repository, monkeypatch, whole, comes_back, saving
):
  monkeypatch.setenv("RESNET_JAX_DISK_PATIENCE", "60" if comes_back else "2")
  run, away = tmp_path / "run", tmp_path / "away"
  often = "--config.train.checkpoint_every=5"
  process = command(repository, run, "--config.train.steps=200", often)
  while True:
    time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    if len(facts(run)) >= 5 and saving == bool(list(run.glob("checkpoints/*tmp*"))):
      break
    process.send_signal(signal.SIGCONT)
  run.rename(away)
  run.mkdir()
  process.send_signal(signal.SIGCONT)
  time.sleep(3)
  if comes_back:
    assert list(run.iterdir()) == []
    run.rmdir()
    away.rename(run)
    assert finish(process)[0] == 0
  else:
    code, output = finish(process)
    assert code == 1
    assert "cannot be written" in output and "has vanished" in output
    assert list(run.iterdir()) == []
    run.rmdir()
    away.rename(run)
    assert finish(command(repository, run, "--config.train.steps=200", often))[0] == 0
  assert facts(run) == facts(whole)
  jax.tree.map(np.testing.assert_array_equal, final_state(run)[0], final_state(whole)[0])


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(tmp_path, repository, monkeypatch):
  monkeypatch.chdir(repository)
  train.train(tiny(steps=8), tmp_path / "whole")
  clock, calls = time.time, itertools.count()
  jumps = [0, 3600, -7200, -7200, 86400]

  def now():
    return clock() + jumps[min(next(calls) // 20, len(jumps) - 1)]

  monkeypatch.setattr(time, "time", now)
  train.train(tiny(steps=8), tmp_path / "run")
  assert next(calls) > 20 * len(jumps)
  assert facts(tmp_path / "run") == facts(tmp_path / "whole")
  jax.tree.map(
    np.testing.assert_array_equal,
    final_state(tmp_path / "run")[0],
    final_state(tmp_path / "whole")[0],
  )
