"""What XLA is told before it begins."""

import os
import subprocess
import sys

import pytest

from resnet_jax.native import library

SHOW = """
import os
from resnet_jax.training import compilation
compilation.set_up()
import jax
jax.jit(lambda x: x + 1)(1)
print(jax.config.jax_compilation_cache_dir, os.environ["XLA_FLAGS"])
"""

COPY = """
import pathlib, shutil, sys
from resnet_jax.training import compilation
compilation.set_up()
import jax
from jax.experimental.compilation_cache import compilation_cache
misses = []
def listen(event, **_):
  if event == "/jax/compilation_cache/cache_misses": misses.append(event)
jax.monitoring.register_event_listener(listen)
def compile_anew():
  jax.clear_caches()
  compilation_cache.reset_cache()
  misses.clear()
  jax.jit(lambda x: x + 1)(1)
  print(len(misses))
compile_anew()
compile_anew()
shutil.copytree(jax.config.jax_compilation_cache_dir, sys.argv[1])
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
compile_anew()
"""


@pytest.mark.parametrize(
  ("asked", "misses"),
  [({}, "1 0 0"), ({"JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "all"}, "1 0 1")],
)
def test_a_cache_that_is_copied_has_every_program_unless_the_user_wants_xlas_own(
  tmp_path, asked, misses
):
  environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "home")} | asked
  for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"):
    if name not in asked:
      environment.pop(name, None)
  done = subprocess.run(
    [sys.executable, "-c", COPY, str(tmp_path / "copy")],
    env=environment,
    check=True,
    capture_output=True,
    text=True,
  )
  assert done.stdout.split() == misses.split()


@pytest.mark.parametrize(
  ("given", "told"),
  [
    ("", "--xla_gpu_exclude_nondeterministic_ops=true"),
    (
      "--xla_force_host_platform_device_count=2",
      "--xla_force_host_platform_device_count=2 --xla_gpu_exclude_nondeterministic_ops=true",
    ),
    (
      "--xla_gpu_exclude_nondeterministic_ops=false",
      "--xla_gpu_exclude_nondeterministic_ops=false",
    ),
  ],
)
def test_nondeterministic_kernels_are_left_out_unless_the_user_wants_them(tmp_path, given, told):
  environment = os.environ | {"XLA_FLAGS": given, "XDG_CACHE_HOME": str(tmp_path)}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  done = subprocess.run(
    [sys.executable, "-c", SHOW], env=environment, check=True, capture_output=True, text=True
  )
  assert done.stdout == f"{tmp_path}/resnet_jax/xla {told}\n"
  assert any((tmp_path / "resnet_jax" / "xla").iterdir())  # small programs are kept


ON_TWO_DEVICES = """
from resnet_jax.training import compilation
compilation.set_up()
import jax
import numpy as np
from resnet_jax.models.convolution import Geometry
from resnet_jax.models.surrounded import surrounded
from resnet_jax.native import library
assert library.available()
misses = []
def listen(event, **_):
  if event == "/jax/compilation_cache/cache_misses": misses.append(event)
mesh = jax.make_mesh((2,), ("data",))
over = jax.sharding.NamedSharding(mesh, jax.P("data"))
x = jax.device_put(np.ones((2, 4, 4, 16), np.float32), over)
kernel = np.ones((3, 3, 16, 16), np.float32)
at = Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))
jax.monitoring.register_event_listener(listen)
jax.jit(lambda x, kernel: surrounded(x, kernel, at=at)[0])(x, kernel)
print(len(misses))
"""


def test_another_process_has_the_programs_of_several_devices(tmp_path):
  if not library.available():
    pytest.skip("there is no C++ compiler")
  environment = os.environ | {
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
  }
  for misses in ("1", "0"):
    done = subprocess.run(
      [sys.executable, "-c", ON_TWO_DEVICES],
      env=environment,
      check=True,
      capture_output=True,
      text=True,
    )
    assert done.stdout.split() == [misses]
