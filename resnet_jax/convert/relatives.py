"""What a file looks like that does not hold one of these nets."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from resnet_jax.convert.layouts import Net

# A name of some tensor, and which nets have such names; the first that is found is told.
BY_NAME = {
  r"\.(cbam|ca|sa)\.|ChannelGate|SpatialGate": "a net with channel and spatial attention (CBAM)",
  r"\.conv2\.(conv|fc1|bn0|attn|paths)\.": "a ResNeSt or SK-ResNet (split attention)",
  r"\.(se|eca|se_\w+)\.": "an SE-ResNet (squeeze and excitation)",
  r"\.convs\.\d": "a Res2Net",
  r"\.bn\d\.(IN|BN)\.": "an IBN-Net (instance normalization)",
  r"\.filt$": "an anti-aliased net (BlurPool)",
  r"\.(downsample|shortcut)\.2\.": "a ResNet-D (average pool before the projection)",
  r"^conv1\.\d": "a net with a stem of several convolutions (ResNet-C, ResNet-D)",
  r"(^|\.)stages\.\d+\.blocks\.\d+\.norm1\.": "a pre-activation net (v2)",
  r"embedder\.embedder\.|encoder\.stages\.": "a ResNet of Hugging Face's transformers",
  r"\.(_packed_params|zero_point)\b": "a quantized net",
}
WIDTH = {"cifar": 16, "imagenet": 64}  # of stage 1


def hint(tensors: Mapping[str, np.ndarray], net: Net | None = None) -> str:
  """What the tensors look like, to end a message with; empty where they look like nothing known.

  Args:
    tensors: of a file.
    net: what was recognized in them, if anything was.
  """
  return next((f"; it looks like {what}" for what in _relatives(tensors, net)), "")


def _relatives(tensors: Mapping[str, np.ndarray], net: Net | None) -> Iterator[str]:
  for pattern, what in BY_NAME.items():
    if any(re.search(pattern, tensor) for tensor in tensors):
      yield what
  if net is None:
    return

  def shape(*layer):
    """Of the weight of a layer; () if it has none."""
    return np.shape(tensors.get(net.layout.weight(*layer), ()))

  def activates_first(stage, unit):
    """Whether a unit's first BN has the size of its input, not of the convolution's output."""
    norm, kernel = shape(stage, unit, "bn1"), shape(stage, unit, "conv1")
    return len(kernel) == 4 and norm == kernel[1:2] != kernel[:1]

  first, second = shape(1, 0, "conv1"), shape(1, 0, "conv2")
  if len(second) == 4 and second[0] > second[1] > 0:
    yield f"a ResNeXt (its 3x3 convolutions are in {second[0] // second[1]} groups)"
  if any(activates_first(*unit) for unit in ((1, 0), (1, 1), (2, 0))):
    yield "a pre-activation net (v2): BN comes before the convolutions"
  if len(net.units) == 4 and shape(0, 0, "conv1")[2:] == (3, 3):
    yield "a net of ImageNet's four stages with a 3x3 stem, for small images"
  if first and first[0] != WIDTH[net.family]:
    yield (
      f"a wide ResNet, or one of another width: {first[0]} channels in stage 1, where these nets "
      f"have {WIDTH[net.family]}"
    )
