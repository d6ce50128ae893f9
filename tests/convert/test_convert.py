"""Import and export are inverse; and what is said of files that do not hold the net."""

import json

import jax
import numpy as np
import pytest
import random_weights
from random_weights import net, saved, tensors
from safetensors.numpy import save_file

from resnet_jax import api, convert
from resnet_jax.convert import about, network, translate
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
  assert refused(tmp_path, headless) == (
    "fc.weight is missing: the file holds no classifier; resnet_jax.features and "
    "configs/finetune.py take the file itself as it is"
  )


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
    ({"projection": "C"}, "config.model.projection='C'"),
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


@pytest.mark.parametrize("layout", ["cifar", "shortcut", "shortcut, fc", "torchvision"])
def test_projection_b_of_cifar_nets(tmp_path, layout):
  """Under every pair of names; and --config may ask for it."""
  config = net(depth=20, projection="B")
  given = saved(tmp_path / "net.safetensors", tensors(config, layout))
  found, variables, report = convert.load_weights(given)
  assert (found.model.projection, report.unused) == ("B", [])
  assert variables["params"]["stage2"]["first"]["projection"]["kernel"].shape == (1, 1, 16, 32)
  equal(convert.load_weights(given, config)[1], variables)
  exported, _ = convert.tensors_of(found, variables)
  assert "layer2.0.shortcut.0.weight" in exported
  equal(convert.load_weights(saved(tmp_path / "back.safetensors", exported))[1], variables)


def test_the_other_projection(tmp_path):
  text = refused(tmp_path, tensors(net(projection="B")), net())
  assert "layer2.0.downsample.0.weight of shape (32, 16, 1, 1) is no part of the net" in text
  assert text.endswith("the file's net has projection B, config.model.projection is A")
  text = refused(tmp_path, tensors(net()), net(projection="B"))
  assert text.endswith("the file's net has projection A, config.model.projection is B")


@pytest.mark.parametrize("layout", ["cifar", "shortcut", "torch7", "caffe"])
def test_biases_before_bn_are_folded_into_its_mean(layout):
  """Whatever the file's names, and of every convolution."""
  config = net(**R18) if layout == "torch7" else net(**R50) if layout == "caffe" else net()
  config.model.projection = "B"
  table = network.entries(convert.LAYOUTS[layout], config.model, 3, 10, "both")
  means = [entry for entry in table if entry.path[-1] == "mean"]
  given = {entry.theirs: random_weights.zeros(*entry.their_shape) for entry in table}
  given |= {entry.bias: np.full(entry.shape, n, np.float32) for n, entry in enumerate(means)}
  assert len({entry.bias for entry in means}) == len(means)
  assert translate.misfit(given, table, lambda _: True) is None
  report = translate.compare(given, table)
  for n, entry in enumerate(means):
    assert (entry.bias, entry.ours, entry.shape) in report.used
    (found,) = jax.tree.leaves(translate.to_ours(given, [entry]))
    np.testing.assert_array_equal(found.ravel(), np.full(entry.shape, -n))
  assert not report.unused
  wrong = given | {means[3].bias: np.zeros(7, np.float32)}
  assert f"{means[3].bias} has the shape (7,)" in translate.misfit(wrong, table, lambda _: False)


def test_a_grey_net(tmp_path):
  """Of other programs: constants for one channel are assumed, and said."""
  given = saved(tmp_path / "a.safetensors", tensors(net(), inputs=1))
  config, variables, report = convert.load_weights(given)
  assert (config.data.name, config.data.normalize) == ("mnist", "0.449/0.226")
  assert variables["params"]["stem"]["conv"]["kernel"].shape == (3, 3, 1, 16)
  assert report.notes[0].startswith("assumed: the normalization (convert --normalize) and zero")
  digits = net()
  digits.data.name = "digits"
  assert convert.load_weights(given, digits)[0].data.normalize == "0.449/0.226"


def test_the_normalization_that_is_given(tmp_path):
  given = saved(tmp_path / "a.safetensors", tensors(net()))
  kind = "0.4914,0.4822,0.4465/0.2470,0.2435,0.2616"
  for normalize in ("caffe", kind):
    config, _, report = convert.load_weights(given, normalize=normalize)
    assert config.data.normalize == normalize
    assert report.notes == ("assumed: zeros padded on both sides (convert --padding)",)
  assert convert.load_weights(given, padding="end", normalize=kind)[2].notes == ()
  with pytest.raises(UserError, match="--normalize=pixel_mean is computed of a training set"):
    convert.load_weights(given, normalize="pixel_mean")
  with pytest.raises(UserError, match="'123.68,116.7,103.9/1,1,1' is unknown; .* in .0, 1., such"):
    convert.load_weights(given, normalize="123.68,116.7,103.9/1,1,1")
  with pytest.raises(UserError, match="'0.5/0.2' is for images of 1 channel; those of cifar10"):
    convert.load_weights(given, normalize="0.5/0.2")


def test_what_is_said_of_a_file(tmp_path):
  given = tensors(net(depth=20)) | {"aux.weight": np.ones(3, np.float32)}
  path = saved(tmp_path / "net.pth", given)
  config, _, report = convert.load_weights(path)
  assert convert.said(path, config, report) == (
    "net.pth: CIFAR net of 20 layers, basic units, projection A, normalized by imagenet; 97 "
    "tensors used, 1 unused (aux.weight); assumed: the normalization (convert --normalize) and "
    "zeros padded on both sides (convert --padding)"
  )
  config, report = net(**R50), translate.Report([], list("abcdef"), [])
  config.model.stride_on = "3x3"
  assert convert.said(path, config, report) == (
    "net.pth: ImageNet net of 50 layers, bottleneck units, stride on 3x3, normalized by imagenet; "
    "0 tensors used, 6 unused (a, b, c, d, e ...)"
  )


@pytest.mark.parametrize("prefix", ["", "backbone.body."])
def test_a_backbone(tmp_path, capsys, prefix):
  """It has features and no logits."""
  given = tensors(net())
  more = {"fpn.weight": np.ones(3, np.float32)} if prefix else {}
  kept = {f"{prefix}{name}": given[name] for name in given if "linear" not in name} | more
  path = saved(tmp_path / "backbone.bin", kept)
  run = api.load(path)
  said = capsys.readouterr().out
  assert said.startswith("backbone.bin: CIFAR net of 8 layers") and said.count("\n") == 1
  assert ("1 unused (fpn.weight)" in said) == bool(prefix)
  whole = convert.load_weights(saved(tmp_path / "whole.safetensors", given))[1]
  equal(run.variables["params"]["stage3"], whole["params"]["stage3"])
  images = np.zeros((1, 32, 32, 3), np.uint8)
  assert run.model.apply(run.variables, run.normalize(images)).shape == (1, 0)
  with pytest.raises(UserError, match="the weights hold no classifier and give no logits"):
    run(images)
  with pytest.raises(
    UserError, match="the file holds no classifier(, but fpn.weight)?; resnet_jax"
  ):
    convert.load_weights(path)


def test_weights_fit_any_output_stride(tmp_path):
  """Files that were exported here tell it, older ones and others' do not."""
  config, path = net(family="imagenet", depth=18, projection="B"), tmp_path / "net.safetensors"
  for output_stride in (8, 32):
    config.model.output_stride = output_stride
    save_file(tensors(config), path, about.write(config, "f"))
    assert convert.recognize(path).model.output_stride == output_stride
  older = json.loads(about.write(config, "f")["resnet_jax"])
  del older["model.output_stride"]
  save_file(tensors(config), path, {"resnet_jax": json.dumps(older)})
  assert convert.recognize(path).model.output_stride == 32
  config.model.output_stride = 16
  assert convert.load_weights(path, config)[0].model.output_stride == 16


def test_metadata_that_are_no_settings(tmp_path):
  path = tmp_path / "a.safetensors"
  metadata = about.write(net(), "f")
  for text in ("no JSON", "[]", "{}", metadata["resnet_jax"].replace('"cifar"', "3")):
    save_file(tensors(net()), path, {"resnet_jax": text})
    with pytest.raises(UserError, match="its metadata 'resnet_jax' cannot be read: "):
      convert.recognize(path)
