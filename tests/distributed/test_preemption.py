"""Signals that ask a run to save and leave, as schedulers send them: several at once."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from resnet_jax.distributed import preemption
from resnet_jax.distributed.preemption import SIGNALS, StopRequest
from resnet_jax.runs import metrics


def test_only_a_second_ctrl_c_ends_at_once():
  before = [signal.getsignal(number) for number in SIGNALS]
  with StopRequest() as stop:
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2):
      signal.raise_signal(number)
    assert stop.received == "SIGUSR2"
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_within_a_destructor_is_not_lost(monkeypatch):
  class Library:
    def __del__(self):
      signal.raise_signal(signal.SIGTERM)  # Python drops what is raised in here

  monkeypatch.setattr(preemption, "_told", [])
  before = [signal.getsignal(number) for number in SIGNALS]
  try:
    preemption.leave_at_once()
    with StopRequest() as stop:
      assert stop.received is None
    library = Library()
    del library
    with StopRequest() as stop:
      assert stop.received == "SIGTERM"
  finally:
    for number, handler in zip(SIGNALS, before, strict=True):
      signal.signal(number, handler)


def test_a_signal_of_which_a_library_makes_an_error_is_not_lost(tmp_path, repository):
  library = """import signal
def get_config(_=None):
  try:
    signal.raise_signal(signal.SIGTERM)
  except BaseException:  # as an extension of C does while it is loaded
    raise ImportError("Encountered an error while initializing the extension") from None
"""
  (tmp_path / "config.py").write_text(library)
  flags = [f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'run'}"]
  run = [sys.executable, "-m", "resnet_jax.main", *flags]
  ended = subprocess.run(run, cwd=repository, capture_output=True, text=True)
  assert (ended.returncode, ended.stderr) == (75, "stopped by SIGTERM; run it again\n")


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_a_burst_of_signals_is_one_request(tmp_path, repository, training):
  workdir = tmp_path / "run"
  flags = ["--config=configs/resnet.py:depth=8,digits", "--config.train.log_every=1"]
  process = subprocess.Popen(
    [sys.executable, "-m", "resnet_jax.main", *flags, f"--workdir={workdir}"],
    cwd=repository,
    env=os.environ | {"XLA_FLAGS": ""},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  begun = (lambda: metrics.read_rows(workdir)) if training else (workdir / ".lock").exists
  while not begun() and process.poll() is None:
    time.sleep(0.01)
  # What slurmstepd sends to every process of a job that it preempts.
  for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGTERM, signal.SIGUSR2):
    process.send_signal(number)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 75, output
  assert "Traceback" not in output
  if training:
    assert json.loads((workdir / "result.json").read_text())["status"] == "running"
    assert list((workdir / "checkpoints").iterdir())
