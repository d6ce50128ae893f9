"""Residual nets in plain PyTorch, with the names that their weights are published under."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

IMAGENET = {
  18: ("basic", (2, 2, 2, 2)),
  34: ("basic", (3, 4, 6, 3)),
  50: ("bottleneck", (3, 4, 6, 3)),
  101: ("bottleneck", (3, 4, 23, 3)),
  152: ("bottleneck", (3, 8, 36, 3)),
}
KERNELS = {"basic": (3, 3), "bottleneck": (1, 3, 1)}


def conv(inputs, outputs, kernel, stride, bias=False):
  return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


class Unit(nn.Module):
  """conv1, bn1, conv2 ... and the shortcut: `downsample`, or zeros around the channels."""

  def __init__(self, kind, inputs, width, stride, strided, padding=None):
    super().__init__()
    self.kernels = KERNELS[kind]
    outputs = [width] * 2 if kind == "basic" else [width, width, 4 * width]
    changes = stride > 1 or inputs != outputs[-1]
    lacking = outputs[-1] - inputs
    self.zeros = (lacking // 2, lacking // 2) if padding == "both" else (0, lacking)
    self.downsample = None
    if changes and padding is None:
      self.downsample = nn.Sequential(
        conv(inputs, outputs[-1], 1, stride), nn.BatchNorm2d(outputs[-1])
      )
    self.stride = stride
    for number, (kernel, channels) in enumerate(zip(self.kernels, outputs, strict=True), 1):
      step = stride if number == strided else 1
      setattr(self, f"conv{number}", conv(inputs, channels, kernel, step))
      setattr(self, f"bn{number}", nn.BatchNorm2d(channels))
      inputs = channels

  def layers(self):
    """(convolution, BN) of F, in order."""
    numbers = range(1, len(self.kernels) + 1)
    return [(getattr(self, f"conv{n}"), getattr(self, f"bn{n}")) for n in numbers]

  def forward(self, x):
    y = x
    for number, (convolution, norm) in enumerate(self.layers()):
      y = norm(convolution(functional.relu(y) if number else y))
    if self.downsample is not None:
      x = self.downsample(x)
    else:
      x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.zeros))
    return functional.relu(x + y)


def stages(net, kind, counts, width, strided, padding=None):
  """Sets layer1, layer2 ...; returns the channels of the last."""
  inputs = width
  for index, count in enumerate(counts):
    units = []
    for unit in range(count):
      stride = 2 if index and not unit else 1
      units.append(Unit(kind, inputs, width * 2**index, stride, strided, padding))
      inputs = width * 2**index * (1 if kind == "basic" else 4)
    setattr(net, f"layer{index + 1}", nn.Sequential(*units))
  return inputs


class ImageNet(nn.Module):
  """As torchvision has it: stride on 3x3, or on 1x1; `caffe`: its pool, and a bias."""

  def __init__(self, depth, stride_on="3x3", classes=1000, caffe=False):
    super().__init__()
    kind, counts = IMAGENET[depth]
    strided = 2 if kind == "bottleneck" and stride_on == "3x3" else 1
    self.caffe = caffe
    self.conv1 = conv(3, 64, 7, 2, bias=caffe)
    self.bn1 = nn.BatchNorm2d(64)
    self.fc = nn.Linear(stages(self, kind, counts, 64, strided), classes)

  def forward(self, x):
    x = functional.relu(self.bn1(self.conv1(x)))
    pool = {"ceil_mode": True} if self.caffe else {"padding": 1}
    x = functional.max_pool2d(x, 3, 2, **pool)
    x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
    return self.fc(x.mean((2, 3)))


class Cifar(nn.Module):
  """The nets of 6n+2 layers with zero-padded shortcuts."""

  def __init__(self, depth, padding="both", classes=10):
    super().__init__()
    self.conv1 = conv(3, 16, 3, 1)
    self.bn1 = nn.BatchNorm2d(16)
    counts = ((depth - 2) // 6,) * 3
    self.linear = nn.Linear(stages(self, "basic", counts, 16, 1, padding), classes)

  def forward(self, x):
    x = functional.relu(self.bn1(self.conv1(x)))
    x = self.layer3(self.layer2(self.layer1(x)))
    return self.linear(x.mean((2, 3)))


class ConcatTable(nn.Sequential):
  def forward(self, x):
    return [branch(x) for branch in self]


class CAddTable(nn.Module):
  def forward(self, values):
    return sum(values)


class Mean(nn.Module):
  def forward(self, x):
    return x.mean((2, 3))


def torch7(net):
  """The same layers in the containers of fb.resnet.torch, which names them by their places."""

  def unit(of):
    path = []
    for convolution, norm in of.layers():
      path += [convolution, norm, nn.ReLU()]
    branches = ConcatTable(nn.Sequential(*path[:-1]), of.downsample or nn.Identity())
    return nn.Sequential(branches, CAddTable(), nn.ReLU())

  bodies = [
    nn.Sequential(*map(unit, layer)) for layer in (net.layer1, net.layer2, net.layer3, net.layer4)
  ]
  stem = [net.conv1, net.bn1, nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
  return nn.Sequential(*stem, *bodies, Mean(), nn.Flatten(), net.fc)


def randomized(net, seed=0):
  """Random weights, and statistics as far from their start as those of a trained net."""
  noise = torch.Generator().manual_seed(seed)
  for name, module in net.named_modules():
    if isinstance(module, nn.BatchNorm2d):
      with torch.no_grad():
        last = 0.3 if name.rsplit(".")[-1] in ("bn2", "bn3") else 1.0  # keeps deep nets in bounds
        module.weight.uniform_(0.5 * last, 1.5 * last, generator=noise)
        module.bias.normal_(0, 0.1, generator=noise)
        module.running_mean.normal_(0, 0.2, generator=noise)
        module.running_var.uniform_(0.5, 2, generator=noise)
    elif isinstance(module, nn.Conv2d):
      nn.init.kaiming_normal_(module.weight, generator=noise)
  return net.eval()


def biased(net, seed=1):
  """The net with a random bias in every convolution."""
  noise = torch.Generator().manual_seed(seed)
  for module in net.modules():
    if isinstance(module, nn.Conv2d):
      module.bias = nn.Parameter(0.5 * torch.randn(module.out_channels, generator=noise))
  return net


def logits(net, images):
  """Of images [N, H, W, C], as numpy."""
  with torch.inference_mode():
    return net(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))).numpy()


def arrays(net):
  """The tensors by name, as numpy."""
  return {name: tensor.numpy() for name, tensor in net.state_dict().items()}
