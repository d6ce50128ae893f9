"""What each job gets."""

import os

import pytest

from resnet_jax.errors import UserError
from resnet_jax.sweep import devices


@pytest.mark.parametrize(
  ("cores", "jobs", "shares"),
  [
    ({0, 1}, None, [{0}, {1}]),
    ({0, 1, 2, 3}, 2, [{0, 1}, {2, 3}]),
    ({4, 5, 6}, 2, [{4}, {5, 6}]),
    ({0, 1}, 3, [{0}, {1}, {0}]),
    ({0, 1}, 1, [{0, 1}]),
  ],
)
def test_cores_are_handed_out(monkeypatch, cores, jobs, shares):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
  monkeypatch.setattr(devices, "_gpus", lambda: [])
  assert [slot.cores for slot in devices.slots(jobs)] == shares


@pytest.mark.parametrize(
  ("jobs", "shares"),
  [(None, ["0", "1", "2", "3"]), (2, ["0,1", "2,3"]), (5, ["0", "1", "2", "3", "0"])],
)
def test_gpus_are_handed_out(monkeypatch, jobs, shares):
  monkeypatch.setattr(devices, "_gpus", lambda: ["0", "1", "2", "3"])
  slots = devices.slots(jobs)
  assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == shares
  shared = {slot.environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for slot in slots}
  assert shared == ({"0.45"} if jobs == 5 else {None})


def test_only_gpus_that_jax_would_use_count(monkeypatch):
  monkeypatch.setattr(devices.importlib.util, "find_spec", lambda _: object())
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  assert devices._gpus() == ["2", "3"]
  monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
  assert devices._gpus() == ["2", "3"]
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
  assert devices._gpus() == []
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  assert devices._gpus() == []


def test_a_tpu_is_one_runs(monkeypatch):
  monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  assert devices.slots(None) == [devices.Slot({})]
  with pytest.raises(UserError, match="--jobs=2: a run takes all of a host's TPU"):
    devices.slots(2)
