"""Nets that are like these and are not: each is refused by what it is."""

import re

import numpy as np
import pytest
from random_weights import net, shapes, zeros

from resnet_jax import api, convert
from resnet_jax.convert import files
from resnet_jax.errors import UserError
from resnet_jax.training import finetune

R18 = net(family="imagenet", depth=18)
R50 = net(family="imagenet", depth=50, unit="bottleneck")


@pytest.fixture
def refused(tmp_path, monkeypatch):
  """What is said of a file with tensors of these names, by every reader the same."""
  path = tmp_path / "net.safetensors"
  path.touch()

  def read(given):
    monkeypatch.setattr(files, "read", lambda *_: files.Contents(given))
    found = []
    config = net()
    config.finetune.weights = str(path)
    for reader in (convert.load_weights, api.load, lambda _: finetune.begin(config, None)):
      with pytest.raises(UserError) as error:
        reader(path)
      found.append(str(error.value))
    assert len(set(found)) == 1 and "\n" not in found[0]
    return found[0]

  return read


def every_unit(given, make):
  """The tensors, with more for every unit."""
  units = {match[0] for name in given if (match := re.match(r"layer\d+\.\d+", name))}
  return given | {name: value for unit in sorted(units) for name, value in make(unit).items()}


def renamed(given, *pairs):
  for old, new in pairs:
    given = {re.sub(old, new, name): value for name, value in given.items()}
  return given


def squeezed(kind):
  """timm's, timm's older ones, and moskomule's."""
  names = {"new": "se.fc1", "old": "se_module.fc1", "linear": "se.fc.0"}
  return every_unit(shapes(R18), lambda unit: {f"{unit}.{names[kind]}.weight": zeros(4, 64, 1, 1)})


def resnet_d():
  deep = renamed(
    shapes(R50), (r"downsample\.1", "downsample.2"), (r"downsample\.0", "downsample.1")
  )
  return renamed(deep, (r"^conv1\.", "conv1.0."))


def next_dimension():
  given = shapes(R50)
  for stage, unit in ((1, 0), (1, 1)):
    given[f"layer{stage}.{unit}.conv1.weight"] = zeros(128, 64, 1, 1)
    given[f"layer{stage}.{unit}.conv2.weight"] = zeros(128, 4, 3, 3)
  return given


def wide(config, factor):
  given = shapes(config)
  return {
    name: zeros(*(factor * given[name].shape[0], *given[name].shape[1:]))
    if re.match(r"layer1\.0\.(conv1|bn1)", name)
    else given[name]
    for name in given
  }


def preactivation(config):
  """With torchvision's names: a unit's first BN has the size of its input."""
  given = shapes(config)
  for name in list(given):
    if match := re.match(r"(layer\d\.\d)\.bn1\.", name):
      given[name] = zeros(given[f"{match[1]}.conv1.weight"].shape[1])
  return given


def timm_v2():
  return {
    "stem.conv.weight": zeros(64, 3, 7, 7),
    "stages.0.blocks.0.norm1.weight": zeros(64),
    "stages.0.blocks.0.conv1.weight": zeros(64, 64, 1, 1),
  }


def of_units(**named):
  return lambda: every_unit(
    shapes(R50), lambda unit: {f"{unit}.{name}": zeros(*shape) for name, shape in named.items()}
  )


RELATIVES = [
  (lambda: squeezed("new"), "an SE-ResNet"),
  (lambda: squeezed("old"), "an SE-ResNet"),
  (lambda: squeezed("linear"), "an SE-ResNet"),
  (of_units(**{"eca.conv.weight": (1, 1, 3)}), "an SE-ResNet"),
  (of_units(**{"ca.fc1.weight": (4, 64, 1, 1), "sa.conv1.weight": (1, 2, 7, 7)}), "(CBAM)"),
  (of_units(**{"cbam.ChannelGate.mlp.1.weight": (4, 64)}), "(CBAM)"),
  (of_units(**{"conv2.fc1.weight": (32, 64, 1, 1)}), "a ResNeSt"),
  (of_units(**{"convs.0.weight": (26, 26, 3, 3)}), "a Res2Net"),
  (of_units(**{"bn1.IN.weight": (32,)}), "an IBN-Net"),
  (of_units(**{"conv3.0.filt": (64, 1, 3, 3)}), "an anti-aliased net"),
  (resnet_d, "a ResNet-D"),
  (lambda: renamed(shapes(R18), (r"^conv1\.", "conv1.0.")), "a stem of several convolutions"),
  (next_dimension, "a ResNeXt (its 3x3 convolutions are in 32 groups)"),
  (lambda: wide(R50, 2), "a wide ResNet, or one of another width: 128 channels in stage 1, where"),
  (lambda: wide(net(depth=20), 10), "a wide ResNet, or one of another width: 160 channels"),
  (timm_v2, "a pre-activation net (v2)"),
  (lambda: preactivation(R18), "a pre-activation net (v2)"),
  (lambda: preactivation(R50), "a pre-activation net (v2)"),
  (lambda: preactivation(net(depth=20)), "a pre-activation net (v2)"),
  (lambda: shapes(R18) | {"conv1.weight": zeros(64, 3, 3, 3)}, "with a 3x3 stem, for small images"),
  (
    lambda: {"resnet.embedder.embedder.convolution.weight": zeros(64, 3, 7, 7)},
    "a ResNet of Hugging Face",
  ),
]


@pytest.mark.parametrize(("make", "what"), RELATIVES)
def test_a_refusal_names_the_relative(refused, make, what):
  text = refused(make())
  assert "; it looks like a" in text and what in text.split("it looks like ")[1], text


def test_no_tensor_of_the_net_may_be_left_over(refused):
  """Neither of the stem, nor of a unit, nor of the classifier, under any names."""
  for name in ("conv1.mask", "maxpool.1.weight", "layer2.1.extra.weight", "fc.1.weight"):
    assert f"{name} of shape (3,) is no part of the net" in refused(shapes(R18) | {name: zeros(3)})
  extra = {"layer1.0.downsample.0.weight": zeros(64, 64, 1, 1)}
  assert "layer1.0.downsample.0.weight of shape (64, 64, 1, 1) is no" in refused(
    shapes(R18) | extra
  )
  assert "linear.1.weight of shape (3,)" in refused(shapes(net()) | {"linear.1.weight": zeros(3)})
  for layout, name in (("torch7", "4.0.0.0.9.weight"), ("caffe", "res2a_branch3.weight")):
    text = refused(shapes(R50, layout) | {name: zeros(3)})
    assert f"{name} of shape (3,) is no part of the net" in text


def test_what_lies_elsewhere_is_listed(tmp_path, monkeypatch):
  """An auxiliary head, counters of averaged weights, of a profiler and of BN."""
  more = {name: zeros(3) for name in ("aux.10.weight", "aux.9.weight", "n_averaged")}
  counts = {"layer1.0.total_ops": zeros(1), "bn1.num_batches_tracked": np.int64(3)}
  given = shapes(net(depth=20)) | more | counts
  monkeypatch.setattr(files, "read", lambda *_: files.Contents(given))
  _, _, report = convert.load_weights("net.pth")
  assert report.unused == ["aux.9.weight", "aux.10.weight", "n_averaged"]


def test_plain_nets_look_like_nothing_else(monkeypatch, tmp_path):
  for config, layout in ((R18, None), (R50, "torch7"), (R50, "caffe"), (net(depth=20), "shortcut")):
    given = shapes(config, layout)
    monkeypatch.setattr(files, "read", lambda *_, given=given: files.Contents(given))
    without = {name: value for name, value in given.items() if "running_mean" not in name}
    assert convert.load_weights("net.pth")[2].unused == []
    monkeypatch.setattr(files, "read", lambda *_, given=without: files.Contents(given))
    with pytest.raises(UserError) as error:
      convert.load_weights("net.pth")
    assert "looks like" not in str(error.value)


def test_first_tensors_are_told_by_number_and_without_counts(refused):
  given = {f"body.{n}.num_batches_tracked": zeros(1) for n in range(3)}
  given |= {f"trunk.{n}.weight": zeros(3) for n in (10, 9, 2)}
  assert refused(given).endswith(
    "holds no net that is known; its first tensors are trunk.2.weight, trunk.9.weight, "
    "trunk.10.weight"
  )
