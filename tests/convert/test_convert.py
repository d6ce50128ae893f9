"""Import and export are inverse; and what is said of files that do not hold the net."""

import jax
import numpy as np
import pytest
import random_weights
from random_weights import net, saved, tensors

from resnet_jax import convert
from resnet_jax.convert import network, translate
from resnet_jax.errors import UserError

R18 = {"family": "imagenet", "depth": 18}
R50 = {"family": "imagenet", "depth": 50, "unit": "bottleneck"}


def equal(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("model", [{"depth": 20}, R18, R50])
def test_import_export_import(model, tmp_path):
  given = tensors(net(**model), classes=100)
  config, variables, _ = convert.load_weights(saved(tmp_path / "a.safetensors", given))
  exported, report = convert.tensors_of(config, variables)
  assert exported.keys() == given.keys() and len(report.used) == len(given)
  equal(exported, given)
  _, again, _ = convert.load_weights(saved(tmp_path / "b.safetensors", exported))
  equal(again, variables)


@pytest.mark.parametrize("layout", ["torch7", "caffe", "torchvision"])
@pytest.mark.parametrize("padding", ["both", "end"])
def test_every_table_is_its_own_inverse(layout, padding):
  config = net(**R50) if layout != "torchvision" else net(depth=20)
  given = tensors(config, layout)
  table = network.entries(convert.LAYOUTS[layout], config.model, 3, 10, padding)
  equal(translate.to_theirs(translate.to_ours(given, table), table), given)


def test_a_net_padded_at_the_end_leaves_padded_on_both_sides(tmp_path):
  given = saved(tmp_path / "a.safetensors", tensors(net(depth=20)))
  config, variables, _ = convert.load_weights(given, padding="end")
  both, _ = convert.tensors_of(config, variables)
  path = saved(tmp_path / "b.safetensors", both)
  equal(convert.load_weights(path)[1], variables)


def test_the_report(tmp_path):
  given = tensors(net()) | {
    "bn1.num_batches_tracked": np.int64(7),
    "extra.weight": np.ones(3, np.float32),
  }
  _, _, report = convert.load_weights(saved(tmp_path / "a.safetensors", given))
  assert report.unused == ["extra.weight"] and not report.missing
  assert report.used[0] == ("conv1.weight", "stem/conv/kernel", (3, 3, 3, 16))
  theirs = dict((name, ours) for name, ours, _ in report.used)
  assert theirs["layer2.0.bn2.running_var"] == "stage2/unit1/bn2/var"


def test_units_are_counted_from_one_in_the_report(tmp_path):
  _, _, report = convert.load_weights(saved(tmp_path / "a.safetensors", tensors(net(depth=20))))
  assert ("layer3.2.conv1.weight", "stage3/unit3/conv1/kernel", (3, 3, 64, 64)) in report.used


def test_half_precision_and_several_gpus(tmp_path):
  given = {f"module.{name}": value.astype(np.float16) for name, value in tensors(net()).items()}
  _, variables, report = convert.load_weights(saved(tmp_path / "a.safetensors", given))
  assert not report.unused
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def refused(tmp_path, given, config=None, **options):
  """The one line, without the path."""
  path = saved(tmp_path / "weights.safetensors", given)
  with pytest.raises(UserError) as error:
    convert.load_weights(path, config, **options)
  text = str(error.value)
  assert "\n" not in text and text.startswith(str(path)), text
  return text.removeprefix(str(path)).lstrip(":, ")


def imagenet(**model):
  return net(family="imagenet", **model)


@pytest.mark.parametrize(
  ("given", "config", "lines"),
  [
    (
      imagenet(depth=101, unit="bottleneck"),
      imagenet(depth=50, unit="bottleneck"),
      [
        "layer3.6.bn1.bias of shape (256,) is no part of the net",
        "the file has 23 units in stage 3, config.model.depth=50 has 6",
      ],
    ),
    (
      imagenet(depth=18),
      imagenet(depth=34),
      [
        "layer1.2.conv1.weight is missing, of shape (64, 64, 3, 3); missing: layer1.2.conv1.weight",
        "the file has 2 units in stage 1, config.model.depth=34 has 3",
      ],
    ),
    (
      imagenet(depth=34),
      imagenet(depth=50, unit="bottleneck"),
      [
        "layer1.0.conv1.weight has the shape (64, 64, 3, 3), where the net has (64, 64, 1, 1)",
        "the file is of basic units, config.model.unit is bottleneck",
      ],
    ),
    (
      net(depth=20),
      imagenet(depth=18),
      [
        "conv1.weight has the shape (16, 3, 3, 3), where the net has (64, 3, 7, 7)",
        "config.model.family is imagenet, the file's net cifar",
      ],
    ),
  ],
)
def test_another_architecture(tmp_path, given, config, lines):
  text = refused(tmp_path, tensors(given), config)
  assert text.startswith(lines[0]) and text.endswith(lines[1]), text


def test_other_classes(tmp_path):
  config = net()
  config.data.name = "cifar100"
  assert refused(tmp_path, tensors(net()), config) == (
    "linear.weight has the shape (10, 64), where the net has (100, 64); the file tells 10 classes "
    "apart, config.data.name='cifar100' 100"
  )
  text = refused(tmp_path, tensors(net(), classes=43))
  assert text.endswith("the file tells 43 classes apart, config.data.name='cifar10' 10")


def test_missing_tensors(tmp_path):
  given = tensors(net())
  one = {name: value for name, value in given.items() if name != "layer2.0.bn1.running_mean"}
  assert refused(tmp_path, one) == "layer2.0.bn1.running_mean is missing, of shape (32,)"
  none = {name: value for name, value in given.items() if "running" not in name}
  assert refused(tmp_path, none).endswith(", layer1.0.bn2.running_mean and 9 more")
  headless = {name: value for name, value in given.items() if "linear" not in name}
  assert "fc.weight is missing" in refused(tmp_path, headless)


def test_a_stage_or_a_unit_is_missing(tmp_path):
  given = tensors(imagenet(depth=18))
  less = {name: value for name, value in given.items() if "layer4" not in name}
  assert refused(tmp_path, less) == (
    "with 2, 2, 2 basic units in its stages: model.depth=14 is no imagenet net of basic units; "
    "the nearest: 18"
  )
  less = {name: value for name, value in given.items() if "layer2.1" not in name}
  assert refused(tmp_path, less).startswith("with 2, 1, 2, 2 basic units in its stages: ")


def test_values_that_are_no_weights(tmp_path):
  given = tensors(net())
  spoilt = given | {"conv1.weight": np.full_like(given["conv1.weight"], np.nan)}
  assert refused(tmp_path, spoilt) == "conv1.weight holds values that are not finite"
  quantized = given | {"conv1.weight": given["conv1.weight"].astype(np.int8)}
  assert refused(tmp_path, quantized).startswith("conv1.weight is of type int8; weights are")


def test_no_net_that_is_known(tmp_path):
  assert refused(tmp_path, {"encoder.weight": np.ones(3, np.float32)}) == (
    "holds no net that is known; its first tensors are encoder.weight"
  )


@pytest.mark.parametrize(
  ("settings", "key"),
  [
    ({"after_add": "full_preact"}, "config.model.after_add='full_preact'"),
    ({"shortcut": "conv"}, "config.model.shortcut='conv'"),
    ({"projection": "B"}, "config.model.projection='B'"),
    ({"depth": 29, "unit": "bottleneck"}, "config.model.unit='bottleneck'"),
  ],
)
def test_nets_that_others_have_no_names_for(tmp_path, settings, key):
  names = "others have names for the layers of imagenet nets"
  assert f"{key}: {names}" in refused(tmp_path, tensors(net()), net(**settings))
  with pytest.raises(UserError, match=names):
    convert.tensors_of(net(**settings), {})


def test_images_that_have_not_three_colours(tmp_path):
  path, config = saved(tmp_path / "a.safetensors", tensors(net())), net()
  config.data.name = "digits"
  with pytest.raises(
    UserError, match="'imagenet' is for images of 3 channels; those of digits have"
  ):
    convert.load_weights(path, config)


def test_a_padding_that_there_is_not(tmp_path):
  with pytest.raises(UserError, match="--padding='left' is unknown; choose from both, end"):
    convert.load_weights(tmp_path / "x.safetensors", padding="left")


def test_the_file_knows_how_its_images_are_normalized(tmp_path):
  """A mean over a training set is not in it; constants in the config given are left."""
  path = saved(tmp_path / "a.safetensors", random_weights.tensors(net()))
  given = net()
  assert given.data.normalize == "pixel_mean"
  assert convert.load_weights(path, given)[0].data.normalize == "imagenet"
  assert given.data.normalize == "pixel_mean"
  given.data.normalize = "caffe"
  assert convert.load_weights(path, given)[0].data.normalize == "caffe"
