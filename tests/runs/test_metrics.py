"""Rows are written once, survive a cut and a full disk, and reading creates nothing."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from resnet_jax.runs import metrics


def row(step, loss=1.0, split="train", seconds=0.0):
  return {"step": step, "split": split, "loss": loss, "timing": {"seconds": seconds}}


@contextlib.contextmanager
def limit_on_files(size):
  """No file grows beyond `size` bytes: a write gets as far as that, then fails."""
  old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, old_limit[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
    signal.signal(signal.SIGXFSZ, old_handler)


def events(workdir):
  """(tag, step, value) of all whole events; a record is length, crc, content, crc."""
  found = []
  for path in sorted((workdir / "events").iterdir(), key=lambda path: int(path.suffix[1:])):
    content = path.read_bytes()
    while len(content) >= 16:
      (length,) = struct.unpack("<Q", content[:8])
      event = Event.FromString(content[12 : 12 + length])
      found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
      content = content[16 + length :]
  return found


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
  assert (tmp_path / "metrics.aside").read_bytes() == rest


def test_rows_of_another_schedule_are_set_aside_at_once(tmp_path):
  for step in (1, 2, 3):
    metrics.MetricsLog(tmp_path).write(row(step))
  log = metrics.MetricsLog(tmp_path)
  log.discard_after(1)
  assert metrics.read_rows(tmp_path) == [row(1)]
  assert [json.loads(line) for line in (tmp_path / "metrics.aside").open()] == [row(2), row(3)]
  log.write(row(2, loss=5.0))
  assert metrics.read_rows(tmp_path) == [row(1), row(2, loss=5.0)]


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


def test_a_row_cut_by_a_full_disk_is_written_whole_later(tmp_path):
  log = metrics.MetricsLog(tmp_path)
  log.write(row(1))
  with limit_on_files((tmp_path / "metrics.jsonl").stat().st_size + 10):
    log.write(row(2))
    log.write(row(3))
    assert log.pending == 2
    assert not log.flush()
    assert metrics.read_rows(tmp_path) == [row(1)]
  assert log.flush()
  assert log.pending == 0
  assert metrics.read_rows(tmp_path) == [row(1), row(2), row(3)]
  assert not (tmp_path / "metrics.aside").exists()


def test_what_stands_behind_the_last_row_goes_where_no_row_follows(tmp_path):
  metrics.MetricsLog(tmp_path).write(row(1))
  whole = (tmp_path / "metrics.jsonl").read_bytes()
  (tmp_path / "metrics.jsonl").write_bytes(whole + b'\n\n{"step": 2, "spl')
  assert metrics.MetricsLog(tmp_path).flush()
  assert (tmp_path / "metrics.jsonl").read_bytes() == whole
  assert (tmp_path / "metrics.aside").read_bytes() == b'\n\n{"step": 2, "spl'


def test_events_that_the_disk_refuses_do_not_stop_the_rows(tmp_path, monkeypatch, caplog):
  log = metrics.MetricsLog(tmp_path)
  log.write(row(1))

  def full(*_):
    raise OSError(28, os.strerror(28))

  with monkeypatch.context() as patched:
    patched.setattr(RecordWriter, "write", full)
    for step in range(2, 40):  # more than any queue holds
      log.write(row(step))
  log.write(row(40))
  assert caplog.text.count("events are not written") == 1
  assert metrics.read_rows(tmp_path) == [row(step) for step in range(1, 41)]
  assert events(tmp_path) == [("train/loss", 1, 1.0), ("train/loss", 40, 1.0)]


def test_events_of_a_resumed_run_have_each_row_once(tmp_path):
  log = metrics.MetricsLog(tmp_path)
  log.write(row(1))
  log.write(row(2, split="test"))
  again = metrics.MetricsLog(tmp_path)
  again.write(row(2, split="test"))
  again.write(row(3))
  assert sorted(events(tmp_path)) == [
    ("test/loss", 2, 1.0),
    ("train/loss", 1, 1.0),
    ("train/loss", 3, 1.0),
  ]


def test_reading_creates_nothing(tmp_path):
  metrics.MetricsLog(tmp_path)
  assert metrics.read_rows(tmp_path) == []
  assert not list(tmp_path.iterdir())


def test_rows_that_are_lost_are_named(tmp_path):
  log = metrics.MetricsLog(tmp_path)
  assert log.last == 0
  for step in (10, 20, 70):
    log.write(row(step))
  log.write(row(20, split="test"))
  assert log.last == 70 and log.has(20, "test") and not log.has(10, "test")
  due = {"train": range(10, 80, 10), "test": range(20, 80, 20)}
  named = metrics.lost_rows(log, due, last=20)
  assert named == "train 30, 40 to 60 (4 rows), test 40, 60"
  assert metrics.lost_rows(log, due, last=60) == "train 30, 40 to 60 (4 rows), test 60"
  assert metrics.lost_rows(log, {"train": [10, 20], "test": [20]}, last=20) == ""


def test_not_a_number_is_refused(tmp_path):
  with pytest.raises(ValueError):
    metrics.MetricsLog(tmp_path).write(row(1, loss=float("nan")))
