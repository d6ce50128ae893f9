"""The authors' released nets, .caffemodel files, without Caffe.

BN there is two layers: BatchNorm, whose blobs are the mean, the variance and the factor that both
are to be divided by, and Scale. The nets take BGR images.
"""

import functools
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

# The fields that matter, of caffe.proto: (name, number, repeated, type).
_TYPES = {"string": 9, "float": 2, "int64": 3, "int32": 5}
_MESSAGES = {
  "Shape": [("dim", 1, True, "int64")],
  "Blob": [
    ("num", 1, False, "int32"),
    ("channels", 2, False, "int32"),
    ("height", 3, False, "int32"),
    ("width", 4, False, "int32"),
    ("data", 5, True, "float"),
    ("shape", 7, False, "Shape"),
  ],
  "Layer": [("name", 1, False, "string"), ("type", 2, False, "string"), ("blobs", 7, True, "Blob")],
  "Old": [("blobs", 6, True, "Blob")],
  "Net": [("name", 1, False, "string"), ("layers", 2, True, "Old"), ("layer", 100, True, "Layer")],
}


class Damaged(Exception):
  """The bytes are no net, or not one of this kind."""


@functools.cache
def _net_type() -> Any:
  file = descriptor_pb2.FileDescriptorProto(name="resnet_jax/caffe.proto", package="resnet_jax")
  for name, fields in _MESSAGES.items():
    kind = file.message_type.add(name=name)
    for field, number, repeated, of in fields:
      added = kind.field.add(name=field, number=number, label=3 if repeated else 1)
      added.type = _TYPES.get(of, 11)  # type: ignore[assignment]
      if of in _MESSAGES:
        added.type_name = f".resnet_jax.{of}"
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName("resnet_jax.Net"))


def read(data: bytes) -> dict[str, np.ndarray]:
  """The tensors of a released net under PyTorch's names for fields: `conv1.weight`, [O, I, H, W].

  A BatchNorm and its Scale become one `bn...`; the first convolution takes RGB.

  Raises:
    Damaged: the bytes are no such net.
  """
  net = _net_type()()
  try:
    net.ParseFromString(data)
  except message.DecodeError:
    raise Damaged("it is no protobuf of a net") from None
  if net.layers and not net.layer:
    raise Damaged("its layers are of the oldest format; upgrade_net_proto_binary of Caffe mends it")
  tensors: dict[str, np.ndarray] = {}
  try:
    for layer in net.layer:
      tensors |= _tensors(layer.type, layer.name, [_array(blob) for blob in layer.blobs])
    if "conv1.weight" in tensors:
      tensors["conv1.weight"] = tensors["conv1.weight"][:, ::-1]
  except (ValueError, IndexError):
    raise Damaged("its blobs have shapes that no such net has") from None
  return tensors


def _tensors(kind: str, name: str, blobs: list[np.ndarray]) -> dict[str, np.ndarray]:
  if kind == "BatchNorm" and len(blobs) == 3:
    mean, variance, factor = blobs
    divisor = float(factor.reshape(-1)[0]) or 1.0
    return {f"{name}.running_mean": mean / divisor, f"{name}.running_var": variance / divisor}
  if kind == "Scale":
    name = name.replace("scale", "bn", 1)
  return dict(zip((f"{name}.weight", f"{name}.bias"), blobs, strict=False))


def _array(blob: Any) -> np.ndarray:
  shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
  data = np.asarray(blob.data, np.float32)
  if data.size != np.prod(shape):
    raise Damaged(f"a blob of shape {shape} has {data.size} values")
  while not blob.shape.dim and len(shape) > 1 and shape[0] == 1:  # the older form pads to four axes
    shape = shape[1:]
  return data.reshape(shape)
