"""The benchmarks run. What they find is not asserted, but for memory, which is planned."""

import functools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import hurry


def run(repository, script, *flags, **environment):
  command = [sys.executable, f"benchmarks/{script}.py", *flags]
  variables = os.environ | environment
  return subprocess.run(command, cwd=repository, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize(
  "script",
  ["step", "startup", "memory", "epoch", "scaling", "seeds", "photos", "processes", "pod"],
)
def test_help(repository, script):
  done = run(repository, script, "--help")
  assert done.returncode == 0, done.stderr
  assert f"python benchmarks/{script}.py" in done.stdout


def test_an_unknown_net_is_refused(repository):
  done = run(repository, "memory", "--nets=resnet21")
  assert done.returncode == 1
  assert done.stderr.startswith("error: the net 'resnet21' is unknown; choose from resnet20, ")


@pytest.mark.slow
def test_memory(repository, tmp_path):
  path = tmp_path / "memory.json"
  # Memory is planned before XLA's backend begins, whose work is not needed then.
  flags = ["--nets=resnet20", "--batch=2", f"--json={path}"]
  done = run(repository, "memory", *flags, XLA_FLAGS=hurry.FLAGS)
  assert done.returncode == 0, done.stderr
  assert "remat=unit" in done.stdout
  report = json.loads(path.read_text())
  peaks = report["measured"]["resnet20, batch 2"]
  assert 0 < peaks["unit"] < peaks["none"]
  assert report["machine"]["versions"]["jax"]


def test_photographs_must_be_there(repository):
  done = run(repository, "photos", "--photos=/nonexistent")
  assert done.returncode == 1
  assert done.stderr.startswith("error: --photos must be a folder")


def test_all_reduces_are_counted_with_the_turns_of_loops(repository, monkeypatch):
  monkeypatch.syspath_prepend(str(repository / "benchmarks"))
  import pod
  from jax.sharding import PartitionSpec

  mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
  total = functools.partial(jax.lax.psum, axis_name="data")

  def program(x):
    turned = jax.lax.fori_loop(0, 5, lambda _, carry: carry + 0.1 * total(carry), x)
    return turned + total(x[:3].sum())

  spread = jax.shard_map(
    program, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data")
  )
  hlo = jax.jit(spread).lower(jax.ShapeDtypeStruct((8 * 6,), "float32")).compile().as_text()
  assert sorted(pod.all_reduces(hlo)) == [4] + 5 * [24]


@pytest.mark.slow
@pytest.mark.parametrize("net", ["resnet20", "preact164", "resnet50"])
def test_the_peer_is_the_same_net(repository, monkeypatch, net):
  pytest.importorskip("torch")
  monkeypatch.syspath_prepend(str(repository / "benchmarks"))
  monkeypatch.chdir(repository)
  import common
  import peer

  from resnet_jax import describe
  from resnet_jax.config import load_file
  from resnet_jax.models.resnet import units_per_stage

  spec, size = common.NETS[net]
  config = load_file(spec).model
  theirs = peer.Net(config, units_per_stage(config), 3, 10)
  ours = describe.network(config, (size, size, 3), 10)
  assert sum(p.numel() for p in theirs.parameters()) == ours["params"]
