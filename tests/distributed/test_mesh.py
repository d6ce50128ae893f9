"""The devices that a run, or several seeds, can share."""

import jax
import pytest

from resnet_jax.distributed import mesh
from resnet_jax.errors import UserError


def test_seeds_on_one_device_are_told_how_to_have_more(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  message = (
    "--seeds=2: 1 device cannot be shared equally by so many; "
    "XLA_FLAGS=--xla_force_host_platform_device_count=2 makes 2 of a CPU; a sweep without"
  )
  with pytest.raises(UserError, match=message):
    mesh.check(16, 2)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  with pytest.raises(UserError, match="by so many; a sweep without --together"):
    mesh.check(16, 2)
