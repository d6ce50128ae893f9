"""The imported nets compute what the originals do: logits equal to PyTorch's."""

import jax
import numpy as np
import pytest
import torch_nets
from torch_nets import torch

from resnet_jax import convert, models
from resnet_jax.data import augment

TOLERANCE = 1e-4  # of the largest logit


def saved(net, path):
  torch.save(net.state_dict(), path)
  return path


def ours(config, variables, images):
  model = models.build(config.model, variables["params"]["classifier"]["bias"].size)
  return np.asarray(jax.jit(model.apply)(variables, images))


def assert_close(found, expected):
  largest = np.abs(expected).max()
  assert np.isfinite(largest) and np.ptp(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * largest)


def photographs(size=64, count=2):
  return np.random.default_rng(1).standard_normal((count, size, size, 3), np.float32)


DEPTHS = [18, 34, 50] + [pytest.param(depth, marks=pytest.mark.slow) for depth in (101, 152)]


@pytest.mark.parametrize("stride_on", ["3x3", "1x1"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_imagenet_nets(depth, stride_on, tmp_path):
  net = torch_nets.randomized(torch_nets.ImageNet(depth, stride_on))
  path = saved(net, tmp_path / "net.pth")
  config = convert.recognize(path)
  assert (config.model.depth, config.model.unit) == (depth, torch_nets.IMAGENET[depth][0])
  assert config.model.stride_on == "3x3" and config.data.normalize == "imagenet"
  config.model.stride_on = stride_on  # which no tensor tells
  config, variables, report = convert.load_weights(path, config)
  path.unlink()
  assert not report.unused
  assert_close(ours(config, variables, photographs()), torch_nets.logits(net, photographs()))


@pytest.mark.parametrize("padding", ["both", "end"])
@pytest.mark.parametrize("depth", [20, 32])
def test_cifar_nets(depth, padding, tmp_path):
  net = torch_nets.randomized(torch_nets.Cifar(depth, padding, classes=100))
  path = saved(net, tmp_path / "net.th")
  config, variables, report = convert.load_weights(path, padding=padding)
  assert (config.model.family, config.model.depth) == ("cifar", depth)
  assert (config.data.name, config.data.normalize) == ("cifar100", "imagenet")
  images, other = photographs(32), {"both": "end", "end": "both"}[padding]
  assert_close(ours(config, variables, images), torch_nets.logits(net, images))
  _, variables, _ = convert.load_weights(path, padding=other)
  found, expected = ours(config, variables, images), torch_nets.logits(net, images)
  assert np.abs(found - expected).max() > 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("classifier", ["linear", "fc"])
@pytest.mark.parametrize("projection", ["downsample", "shortcut"])
def test_cifar_nets_with_projections(projection, classifier, tmp_path):
  """And with biases that BN makes idle."""
  net = torch_nets.biased(torch_nets.randomized(torch_nets.Cifar(8, padding=None)))
  named = {
    name.replace("downsample", projection).replace("linear", classifier): tensor
    for name, tensor in net.state_dict().items()
  }
  torch.save(named, tmp_path / "net.pth")
  config, variables, report = convert.load_weights(tmp_path / "net.pth")
  assert config.model.projection == "B" and not report.unused
  assert ("conv1.bias", "stem/bn/mean", (16,)) in report.used
  images = photographs(32)
  assert_close(ours(config, variables, images), torch_nets.logits(net, images))


@pytest.mark.parametrize("depth", [18, 50])
def test_nets_of_fb_resnet_torch(depth, tmp_path):
  net = torch_nets.torch7(torch_nets.randomized(torch_nets.ImageNet(depth)))
  path = saved(net.eval(), tmp_path / "net.pth")
  config, variables, report = convert.load_weights(path)
  path.unlink()
  assert config.model.depth == depth and not report.unused
  assert_close(ours(config, variables, photographs()), torch_nets.logits(net, photographs()))


def test_wrapped_weights(tmp_path):
  """As training scripts save them: in a dictionary, from several GPUs."""
  net = torch_nets.randomized(torch_nets.Cifar(8))
  wrapped = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
  torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "net.pt")
  _, expected, _ = convert.load_weights(saved(net, tmp_path / "plain.pth"))
  _, found, _ = convert.load_weights(tmp_path / "net.pt")
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_released_nets_of_caffe(tmp_path):
  """ResNet-50 in Caffe takes BGR less a mean, pads its pool at the end and has a bias first."""
  import caffemodel

  net = torch_nets.randomized(torch_nets.ImageNet(50, "1x1", caffe=True))
  path = tmp_path / "ResNet-50-model.caffemodel"
  path.write_bytes(caffemodel.resnet50(torch_nets.arrays(net)))
  config, variables, report = convert.load_weights(path)
  path.unlink()
  assert config.model.depth == 50 and not report.unused
  assert (config.model.stride_on, config.model.pool_padding) == ("1x1", "end")
  assert config.data.normalize == "caffe"
  images = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), np.uint8)
  theirs = images[..., ::-1].astype(np.float32) - np.float32((103.939, 116.779, 123.68))
  constants = augment.normalization(None, config.data.normalize)
  found = ours(config, variables, augment.normalize(images, *constants))
  assert_close(found, torch_nets.logits(net, theirs))
