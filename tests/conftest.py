"""Tests run on eight virtual CPU devices; what they compile is shared by all of a session.

What they compute themselves is compiled in a hurry. The commands that they start for the sake of
bits, kills and resumption set XLA_FLAGS, so that those compile what a user's do.
"""

import atexit
import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests import cluster as slurm
from tests import hurry

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count=8 {hurry.FLAGS}"
)
# Made by the first process of a session, and inherited by xdist's workers and every command.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="resnet_jax-")
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
  atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest

from resnet_jax import registry

# What `pytest -m quick` runs: of every area what is fast. Single tests
# are named where the others of their module are not.
QUICK = {
  "convert/test_caffe.py",
  "convert/test_convert.py::test_the_report",
  "convert/test_layouts.py",
  "data/photos/test_crops.py",
  "data/photos/test_decode.py",
  "data/photos/test_sources.py",
  "data/test_augment.py::test_every_view_comes_up_and_no_other",
  "data/test_augment.py::test_grey_images_have_no_colour_settings",
  "data/test_data.py::test_digits_are_scikit_learns_with_every_fifth_held_out",
  "data/test_data.py::test_parts_of_splits",
  "data/test_order.py",
  "models/test_layers.py",
  "models/test_counts.py::test_layers_add_up",
  "native/test_library.py::test_it_is_compiled_once_and_kept",
  "native/test_library.py::test_without_a_compiler_there_are_none",
  "report/test_report.py::test_numbers_and_tables_are_those_of_the_runs",
  "report/test_paired.py",
  "sweep/test_devices.py",
  "sweep/test_plan.py",
  "sweep/test_rows.py",
  "sweep/test_status.py",
  "sweep/test_table.py",
  "runs/test_checkpoint.py::test_the_last_three_and_the_best_are_kept",
  "config/test_config.py",
  "config/test_parts.py",
  "config/test_settings.py",
  "tasks/test_classification.py",
  "test_main.py::test_flags_of_another_mode",
  "runs/test_metrics.py",
  "training/test_optim.py",
  "test_paper.py",
  "distributed/test_preemption.py::test_only_a_second_ctrl_c_ends_at_once",
  "runs/test_progress.py",
  "training/test_steps.py::test_frozen_parts_are_used_as_they_are",
  "training/test_train_refusals.py::test_foreign_workdir_is_refused",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
  """Marks the quick tests, and has each worker begin with the slow ones of its share of modules:
  fast ones are left for the end, which divide well.
  """
  for item in items:
    place = item.nodeid.removeprefix("tests/").partition("[")[0]
    if QUICK & {place, place.partition("::")[0]} and not item.get_closest_marker("slow"):
      item.add_marker("quick")
  modules = {path: number for number, path in enumerate(dict.fromkeys(i.path for i in items))}
  workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
  items.sort(
    key=lambda i: (modules[i.path] % workers, not i.get_closest_marker("slow"), modules[i.path])
  )


@pytest.fixture(autouse=True)
def as_before():
  """A model of float64 turns 64-bit JAX on for its process, and config files register parts: the
  next test begins without them.
  """
  before = {id(place): dict(place.parts) for place in registry.REGISTRIES}
  yield
  jax.config.update("jax_enable_x64", False)
  for place in registry.REGISTRIES:
    if id(place) in before:
      place.parts.clear()
      place.parts.update(before[id(place)])


@pytest.fixture
def x64():
  """64-bit JAX for one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def repository() -> pathlib.Path:
  """The root of the checkout."""
  return pathlib.Path(__file__).parent.parent


@pytest.fixture
def cluster(tmp_path, tmp_path_factory, repository, monkeypatch):
  """A real SLURM, for one test alone: these preempt each other's jobs."""
  if not slurm.answers():
    pytest.skip("no SLURM answers here; .ci/slurm.sh makes one for tests")
  monkeypatch.chdir(repository)
  monkeypatch.setenv("XLA_FLAGS", "")
  with (tmp_path_factory.getbasetemp().parent / "slurm.lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield
    ids = {path.name.split("_")[0] for path in tmp_path.rglob("logs/slurm/*_submission.sh")}
    subprocess.run(["scancel", *ids, *slurm.urgent()])
