"""Rows are written once, survive a cut and a full disk, and reading creates nothing."""

import os
import pathlib

import pytest

from resnet_jax import metrics


def row(step, loss=1.0, split="train", seconds=0.0):
  return {"step": step, "split": split, "loss": loss, "timing": {"seconds": seconds}}


def test_a_resumed_run_writes_no_row_twice(tmp_path):
  log = metrics.MetricsLog(tmp_path)
  log.write(row(1))
  log.write(row(2))
  again = metrics.MetricsLog(tmp_path)
  again.write(row(2, seconds=9.0))
  again.write(row(3))
  assert metrics.read_rows(tmp_path) == [row(1), row(2), row(3)]


def test_a_row_measured_otherwise_is_told_and_kept(tmp_path, caplog):
  metrics.MetricsLog(tmp_path).write(row(1))
  metrics.MetricsLog(tmp_path).write(row(1, loss=2.0))
  assert "measured again, and not as in" in caplog.text
  assert metrics.read_rows(tmp_path) == [row(1)]


@pytest.mark.parametrize("rest", [b'{"step": 2, "spl', b"\x00\xff garbage\n"])
def test_what_is_no_row_is_set_aside(tmp_path, rest):
  metrics.MetricsLog(tmp_path).write(row(1))
  with (tmp_path / "metrics.jsonl").open("ab") as file:
    file.write(rest)
  assert metrics.read_rows(tmp_path) == [row(1)]
  metrics.MetricsLog(tmp_path).write(row(2))
  assert metrics.read_rows(tmp_path) == [row(1), row(2)]
  assert (tmp_path / "metrics.damaged").read_bytes() == rest


def test_rows_that_the_disk_refuses_are_held(tmp_path, monkeypatch):
  log = metrics.MetricsLog(tmp_path)
  log.write(row(1))

  def full(*_, **__):
    raise OSError(28, os.strerror(28))

  with monkeypatch.context() as patched:
    patched.setattr(pathlib.Path, "open", full)
    log.write(row(2))
    assert log.pending == 1
  log.write(row(3))
  assert log.pending == 0
  assert metrics.read_rows(tmp_path) == [row(1), row(2), row(3)]


def test_reading_creates_nothing(tmp_path):
  metrics.MetricsLog(tmp_path)
  assert metrics.read_rows(tmp_path) == []
  assert not list(tmp_path.iterdir())


def test_not_a_number_is_refused(tmp_path):
  with pytest.raises(ValueError):
    metrics.MetricsLog(tmp_path).write(row(1, loss=float("nan")))
