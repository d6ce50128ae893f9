"""An exported network keeps the names of its classes, in the order of its logits."""

import dataclasses

import jax
import numpy as np
import pytest
from random_weights import net, saved, tensors
from safetensors.numpy import save_file

from resnet_jax import api, convert, data
from resnet_jax.config import to_json
from resnet_jax.convert import about, transfer
from resnet_jax.distributed import mesh
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, record
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import setup

LEARNT = tuple(f"class {letter}" for letter in "jihgfedcba")  # as many as CIFAR-10 has


def config_of_cifar():
  config = net()
  config.data.normalize = "imagenet"
  return config


def state(config):
  task, here = api.learner(config, data.of_weights(config.data, 10)), mesh.replicated(mesh.build())
  template = setup.template(task, (32, 32, 3), here)
  return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), template)


def test_an_export_names_the_classes_and_what_reads_it_takes_them(tmp_path):
  config, run, out = config_of_cifar(), tmp_path / "run", tmp_path / "net.safetensors"
  checkpoints = Checkpoints(run, print)
  position = record.Position(step=2, data="photographs", **record.whose(config, LEARNT))
  checkpoints.save(2, state(config), dataclasses.asdict(position))
  checkpoints.settle()
  checkpoints.close()
  described = {"shape": [32, 32, 3], "classes": list(LEARNT)}
  metrics.write_json(run / "result.json", {"data": described})
  metrics.write_json(run / "config.json", to_json(config))
  transfer.take(run, out, "last")
  assert api.load(out).info.classes == LEARNT
  transfer.bring(out, tmp_path / "back", None)
  assert api.load_run(tmp_path / "back").info.classes == LEARNT
  assert api.restore(tmp_path / "back", "last", config)[3]["classes"] == list(LEARNT)


@pytest.mark.parametrize(
  ("classes", "known"),
  [(LEARNT, True), (("é", "\udcff", *LEARNT[2:]), True), (LEARNT[:9], False), (None, False)],
)
def test_names_are_taken_if_there_are_as_many_as_the_net_tells_apart(tmp_path, classes, known):
  path = tmp_path / "net.safetensors"
  save_file(tensors(net()), path, about.write(config_of_cifar(), "", classes))
  assert convert.load_weights(path)[2].classes == (classes if known else None)


def test_what_are_no_names_are_no_metadata(tmp_path):
  path = tmp_path / "net.safetensors"
  save_file(tensors(net()), path, about.write(config_of_cifar(), "", list(range(10))))
  with pytest.raises(UserError, match="cannot be read: the classes are no names"):
    convert.recognize(path)


def test_others_files_name_no_classes(tmp_path):
  path = saved(tmp_path / "net.safetensors", tensors(net()))
  assert convert.load_weights(path)[2].classes is None
  assert api.load(path).info.classes == data.CIFAR10
