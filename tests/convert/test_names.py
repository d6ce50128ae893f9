"""An exported network keeps the names of its classes, in the order of its logits."""

import dataclasses

import jax
import numpy as np
import pytest
from random_weights import net, saved, tensors
from safetensors.numpy import save_file
from test_runs import command

from resnet_jax import api, convert, data, mesh, metrics, record, setup
from resnet_jax.checkpoint import Checkpoints
from resnet_jax.config import to_json
from resnet_jax.convert import names, runs

LEARNT = tuple(f"class {letter}" for letter in "jihgfedcba")  # as many as CIFAR-10 has


def state(config):
  task, here = api.task(config, data.of_weights(config.data, 10)), mesh.replicated(mesh.build())
  template = setup.template(task, (32, 32, 3), here)
  return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), template)


def test_an_export_names_the_classes_and_what_reads_it_takes_them(tmp_path, repository):
  config, run, out = net(), tmp_path / "run", tmp_path / "net.safetensors"
  checkpoints = Checkpoints(run, print)
  position = record.Position(step=2, data="photographs", **record.whose(config, LEARNT))
  checkpoints.save(2, state(config), dataclasses.asdict(position))
  checkpoints.settle()
  checkpoints.close()
  described = {"shape": [32, 32, 3], "classes": list(LEARNT)}
  metrics.write_json(run / "result.json", {"data": described})
  metrics.write_json(run / "config.json", to_json(config))
  code, _, errors = command(f"--workdir={run}", f"--out={out}", cwd=repository)
  assert code == 0, errors
  assert api.load(out).info.classes == LEARNT
  config, variables, _ = convert.load_weights(out)
  runs.write(tmp_path / "back", out, config, variables)
  assert api.load_run(tmp_path / "back").info.classes == LEARNT
  assert api.restore(tmp_path / "back", "last", config)[3]["classes"] == list(LEARNT)


@pytest.mark.parametrize("written", ["[1, 2]", '["a"]', "no JSON", "7"])
def test_names_that_do_not_fit_are_not_taken(tmp_path, written):
  path = tmp_path / "net.safetensors"
  save_file({"a": np.zeros(2)}, path, metadata={"classes": written})
  assert names.read(path, 2) is None
  save_file({"a": np.zeros(2)}, path, metadata=names.metadata(["é", "\udcff"]))
  assert names.read(path, 2) == ("é", "\udcff")


def test_others_files_name_no_classes(tmp_path):
  path = saved(tmp_path / "net.safetensors", tensors(net()))
  assert names.read(path, 10) is None
  assert api.load(path).info.classes == data.CIFAR10
