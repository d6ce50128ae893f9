"""The same nets and training step in PyTorch, written plainly and tuned as its users would.

Original and full pre-activation nets with identity shortcuts, projections A and B, for CIFAR and
ImageNet: what the benchmarks compare. Torch is an extra of theirs: pip install -e '.[torch]'.
"""

import time

import torch
from torch import nn
from torch.nn import functional

WIDTHS = {"cifar": (16, 32, 64), "imagenet": (64, 128, 256, 512)}


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
  """A convolution without bias, begun as He et al. begin it ([M] 2.2)."""
  conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
  nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
  return conv


class SubsampleAndPad(nn.Module):
  """Projection A: every `stride`-th position, and zeros for the channels that x lacks."""

  def __init__(self, stride: int, more: int):
    super().__init__()
    self.stride, self.more = stride, more

  def forward(self, x):
    """[N, C, H, W] -> [N, C + more, H / stride, W / stride]."""
    return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class Unit(nn.Module):
  """A basic or a bottleneck unit, original or pre-activation; x [N, C, H, W]."""

  def __init__(self, inputs, width, stride, settings, activation):
    super().__init__()
    kernels = [3, 3] if settings.unit == "basic" else [1, 3, 1]
    outputs = width if settings.unit == "basic" else 4 * width
    sizes = [inputs, *[width] * (len(kernels) - 1), outputs]
    strides = [stride] + [1] * (len(kernels) - 1)
    self.preact = settings.after_add == "full_preact"
    self.activation = activation
    self.convs = nn.ModuleList(map(convolution, sizes[:-1], sizes[1:], kernels, strides))
    sizes = sizes[1:] if not self.preact else sizes[:-1]
    self.norms = nn.ModuleList(map(nn.BatchNorm2d, sizes))
    if self.preact and activation == "none":
      self.norms[0] = nn.Identity()
    self.project = nn.Identity()
    if (stride > 1 or outputs > inputs) and settings.projection == "A":
      self.project = SubsampleAndPad(stride, outputs - inputs)
    elif stride > 1 or outputs > inputs:
      self.project = convolution(inputs, outputs, 1, stride)
      if not self.preact:
        self.project = nn.Sequential(self.project, nn.BatchNorm2d(outputs))

  def forward(self, x):
    """F(x) + h(x), with the activations where [R] or [I] have them."""
    if not self.preact:
      y = x
      for conv, norm in zip(self.convs[:-1], self.norms[:-1], strict=True):
        y = functional.relu(norm(conv(y)), inplace=True)
      return functional.relu(self.norms[-1](self.convs[-1](y)) + self.project(x), inplace=True)
    y = x if self.activation == "none" else functional.relu(self.norms[0](x), inplace=True)
    shortcut = self.project(y if self.activation == "shared" else x)
    y = self.convs[0](y)
    for norm, conv in zip(self.norms[1:], self.convs[1:], strict=True):
      y = conv(functional.relu(norm(y), inplace=True))
    return y + shortcut


class Net(nn.Module):
  """Images [N, 3, H, W] -> logits [N, classes]; `settings` is a `config.model`."""

  def __init__(self, settings, units: tuple[int, ...], channels: int, classes: int):
    super().__init__()
    widths = WIDTHS[settings.family]
    cifar = settings.family == "cifar"
    self.stem = nn.Sequential(
      convolution(channels, widths[0], 3 if cifar else 7, 1 if cifar else 2),
      nn.BatchNorm2d(widths[0]),
      nn.ReLU(inplace=True),
      nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1),
    )
    inputs, layers = widths[0], []
    for stage, (width, count) in enumerate(zip(widths, units, strict=True)):
      for number in range(count):
        activation = "own" if number else "shared" if stage else "none"
        stride = 2 if stage and not number else 1
        layers.append(Unit(inputs, width, stride, settings, activation))
        inputs = width if settings.unit == "basic" else 4 * width
    if settings.after_add == "full_preact":
      layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
    self.units = nn.Sequential(*layers)
    self.classifier = nn.Linear(inputs, classes)

  def forward(self, x):
    """Global average pooling over the last maps, then the classifier."""
    return self.classifier(self.units(self.stem(x)).mean((2, 3)))


class Trainer:
  """A net with its optimizer, on this machine's GPU or CPU, in one of the ways PyTorch offers.

  Args:
    way: "eager", or some of channels_last, compile (on a GPU with CUDA graphs), graph (the whole
      training step as one CUDA graph) and amp (autocast to bfloat16), joined by "+".
    net: the network.
    size: of the images.
    batch_size: of the images.
  """

  def __init__(self, way: str, net: Net, size: int, batch_size: int):
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways, gpu = set(way.split("+")), self.device.type == "cuda"
    self.layout = torch.channels_last if "channels_last" in ways else torch.contiguous_format
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    self.net, self.amp = net.to(self.device, memory_format=self.layout), "amp" in ways
    self.parameters = sum(p.numel() for p in net.parameters())
    self.optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=1e-4)
    self.loss, self.logits = self._loss, self._logits
    if "compile" in ways:
      self.loss = torch.compile(self.loss, mode="reduce-overhead" if gpu else "default")
      self.logits = torch.compile(self.logits, mode="reduce-overhead" if gpu else "default")
    images = torch.randn((batch_size, 3, size, size), device=self.device)
    self.images = images.to(memory_format=self.layout)
    self.labels = torch.arange(batch_size, device=self.device) % 10
    self.graph = self._captured() if "graph" in ways else None

  def _captured(self) -> torch.cuda.CUDAGraph:
    """The step on `images` and `labels`, recorded after a few that let PyTorch choose kernels."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
      for _ in range(3):
        self._step(self.images, self.labels)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      self.loss(self.images, self.labels).backward()
      self.optimizer.step()
    return graph

  def _logits(self, images):
    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
      return self.net(images)

  def _loss(self, images, labels):
    return functional.cross_entropy(self._logits(images).float(), labels)

  def step(self, images, labels) -> None:
    """One training step."""
    if self.graph is None:
      return self._step(images, labels)
    self.images.copy_(images)
    self.labels.copy_(labels)
    self.graph.replay()

  def _step(self, images, labels) -> None:
    self.loss(images, labels).backward()
    self.optimizer.step()
    self.optimizer.zero_grad(set_to_none=True)

  def steps(self, count: int) -> None:
    """Takes so many training steps and waits for the last."""
    self.net.train()
    for _ in range(count):
      self.step(self.images, self.labels)
    self.wait()

  @torch.no_grad()
  def infer(self, count: int) -> None:
    """Classifies so many batches and waits for the last."""
    self.net.eval()
    for _ in range(count):
      self.logits(self.images)
    self.wait()

  def wait(self) -> None:
    """Waits until the device is idle."""
    if self.device.type == "cuda":
      torch.cuda.synchronize()


def rates(dtype: str) -> tuple[float, float]:
  """What this machine can do: FLOP/s of a large product, bytes/s of a large copy, the best of 5."""
  gpu = torch.cuda.is_available()
  size = 8192 if gpu else 2048
  device = "cuda" if gpu else "cpu"
  a = torch.randn(size, size, device=device, dtype=getattr(torch, dtype))
  big = torch.ones(2**28 if gpu else 2**26, device=device)
  copy = torch.empty_like(big)

  def best(work) -> float:
    seconds = []
    for _ in range(6):
      begin = time.perf_counter()
      work()
      if gpu:
        torch.cuda.synchronize()
      seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])

  return 2 * size**3 / best(lambda: a @ a), 2 * big.nbytes / best(lambda: copy.copy_(big))
