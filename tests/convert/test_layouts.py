"""The names of the layers, as they are published, and which net they are recognized for."""

import subprocess
import sys

import numpy as np
import pytest
import random_weights

from resnet_jax.convert import LAYOUTS, layouts, network


def names(layout, **model):
  config = random_weights.net(family="imagenet", **model)
  return [entry.theirs for entry in network.entries(LAYOUTS[layout], config.model, 3, 10, "both")]


def test_names_of_torchvision():
  found = names("torchvision", depth=50, unit="bottleneck")
  assert found[:6] == [
    "conv1.weight",
    *(f"bn1.{field}" for field in ("weight", "bias", "running_mean", "running_var")),
    "layer1.0.conv1.weight",
  ]
  for name in ("layer1.0.downsample.0.weight", "layer4.2.bn3.running_var", "fc.bias"):
    assert name in found
  assert len(found) == len(set(found)) == 53 + 4 * 53 + 2


def test_names_of_fb_resnet_torch():
  found = names("torch7", depth=50, unit="bottleneck")
  assert {"0.weight", "1.running_mean", "10.weight", "10.bias"} <= set(found)
  path = [name for name in found if name.startswith("5.0.0.0.")]
  assert [name.split(".")[4] for name in path if name.endswith("weight")] == list("013467")
  assert {"5.0.0.1.0.weight", "5.0.0.1.1.bias", "7.2.0.0.7.running_var"} <= set(found)


@pytest.mark.parametrize(
  ("depth", "there", "absent"),
  [
    (50, ["res3a_branch1", "res3d_branch2a", "bn4f_branch2c"], ["res3b1_branch2a"]),
    (101, ["res2c_branch2b", "res3b3_branch2a", "bn4b22_branch2c", "res5c_branch2a"], ["res4b_"]),
    (152, ["res3b7_branch2a", "bn3a_branch1", "res4b35_branch2c", "res5b_branch2a"], ["res3b_"]),
  ],
)
def test_names_of_caffe(depth, there, absent):
  found = names("caffe" if depth == 50 else "caffe, numbered", depth=depth, unit="bottleneck")
  assert {"conv1.weight", "bn_conv1.running_mean", "fc1000.bias"} <= set(found)
  for name in there:
    assert f"{name}.weight" in found
  for name in absent:
    assert not any(name in other for other in found)


@pytest.mark.parametrize(
  ("layout", "model"),
  [
    ("torchvision", {"depth": 18}),
    ("torchvision", {"depth": 34}),
    ("torchvision", {"depth": 152, "unit": "bottleneck"}),
    ("torchvision", {"depth": 200, "unit": "bottleneck"}),
    ("torch7", {"depth": 101, "unit": "bottleneck"}),
    ("caffe", {"depth": 50, "unit": "bottleneck"}),
    ("caffe, numbered", {"depth": 101, "unit": "bottleneck"}),
    ("caffe, numbered", {"depth": 152, "unit": "bottleneck"}),
    ("cifar", {"family": "cifar", "depth": 20}),
    ("cifar", {"family": "cifar", "depth": 1202}),
    ("torchvision", {"family": "cifar", "depth": 56}),  # with the classifier named fc
    ("torchvision", {"family": "cifar", "depth": 20, "projection": "B"}),
    ("cifar", {"family": "cifar", "depth": 20, "projection": "B"}),
    ("shortcut", {"family": "cifar", "depth": 20, "projection": "B"}),
    ("shortcut, fc", {"family": "cifar", "depth": 20, "projection": "B"}),
  ],
)
def test_nets_are_recognized_by_names_and_shapes_alone(layout, model):
  config = random_weights.net(**{"family": "imagenet"} | model).model
  table = network.entries(LAYOUTS[layout], config, 3, 7, "both")
  shapes = {entry.theirs: np.broadcast_to(np.float32(0), entry.their_shape) for entry in table}
  found = layouts.recognize(shapes)
  assert found.layout == LAYOUTS[layout]
  assert (found.family, found.unit, found.depth) == (config.family, config.unit, config.depth)
  assert (found.projection, found.channels, found.classes) == (config.projection, 3, 7)
  classifier = f"{LAYOUTS[layout].classifier}."
  headless = {name: shapes[name] for name in shapes if not name.startswith(classifier)}
  assert layouts.recognize(headless).classes is None


def test_recognizing_needs_no_jax(tmp_path):
  given = random_weights.tensors(random_weights.net())
  half = {name: value.astype("bfloat16") for name, value in given.items()}  # NumPy has it from JAX
  path = random_weights.saved(tmp_path / "x.safetensors", half)
  code = (
    "import sys; from resnet_jax import convert; print(convert.recognize(sys.argv[1]).model.depth);"
    "sys.exit('jax' in sys.modules)"
  )
  done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
  assert (done.returncode, done.stdout) == (0, "8\n"), done.stderr
