"""What XLA is told before it begins."""

import os
import subprocess
import sys

import pytest

SHOW = """
import os
from resnet_jax import compilation
compilation.set_up()
import jax
jax.jit(lambda x: x + 1)(1)
print(jax.config.jax_compilation_cache_dir, os.environ["XLA_FLAGS"])
"""


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
