"""Tests run on eight virtual CPU devices; what they compile is shared by all of a session."""

import atexit
import os
import pathlib
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Made by the first process of a session, and inherited by xdist's workers and every command.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="resnet_jax-")
  atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest


@pytest.fixture(autouse=True)
def as_before():
  """A model of float64 turns 64-bit JAX on for its process: the next test begins without it."""
  yield
  jax.config.update("jax_enable_x64", False)


@pytest.fixture
def x64():
  """64-bit JAX for one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def repository() -> pathlib.Path:
  """The root of the checkout."""
  return pathlib.Path(__file__).parent.parent
