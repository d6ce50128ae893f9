"""Writes .caffemodel files byte by byte, as protocol buffers lie on the wire."""

import struct

import numpy as np

LETTERS = "abcdef"
FACTOR = 999.98  # that Caffe keeps the statistics multiplied by


def varint(number):
  encoded = bytearray()
  while number > 127:
    encoded.append(number & 127 | 128)
    number >>= 7
  return bytes([*encoded, number])


def field(number, payload):
  """A field of bytes: a text, a message or packed numbers."""
  return varint(number << 3 | 2) + varint(len(payload)) + payload


def number(at, value):
  return varint(at << 3) + varint(value)


def blob(array, legacy=False):
  array = np.asarray(array, "<f4")
  data = field(5, array.tobytes())
  if not legacy:
    return field(7, field(1, b"".join(map(varint, array.shape)))) + data
  shape = (1,) * (4 - array.ndim) + array.shape
  return b"".join(number(at, size) for at, size in enumerate(shape, 1)) + data


def layer(name, kind, blobs, legacy=False):
  blobs = b"".join(field(7, blob(array, legacy)) for array in blobs)
  return field(100, field(1, name.encode()) + field(2, kind.encode()) + blobs)


def unpacked(array):
  """A blob whose floats are each a field, as old writers left them."""
  floats = b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in np.ravel(array))
  return field(7, field(1, b"".join(map(varint, np.shape(array))))) + floats


def norm(place, tensors, name, legacy=False):
  """The two layers that are one BN."""
  mean, variance = (FACTOR * tensors[f"{name}.running_{key}"] for key in ("mean", "var"))
  affine = [tensors[f"{name}.weight"], tensors[f"{name}.bias"]]
  return layer(f"bn{place}", "BatchNorm", [mean, variance, [FACTOR]], legacy) + layer(
    f"scale{place}", "Scale", affine, legacy
  )


def resnet50(tensors, legacy=False):
  """The authors' names for the tensors of a net with torchvision's."""
  stem = [tensors["conv1.weight"], tensors["conv1.bias"]]
  net = field(1, b"ResNet-50") + layer("data", "Input", [])
  net += layer("conv1", "Convolution", stem, legacy) + norm("_conv1", tensors, "bn1", legacy)
  for stage, units in enumerate((3, 4, 6, 3), 1):
    for unit in range(units):
      place, there = f"{stage + 1}{LETTERS[unit]}_branch", f"layer{stage}.{unit}"
      pairs = [(f"2{'abc'[n - 1]}", f"conv{n}", f"bn{n}") for n in (1, 2, 3)]
      pairs += [("1", "downsample.0", "downsample.1")] if not unit else []
      for branch, conv, bn in pairs:
        kernel = [tensors[f"{there}.{conv}.weight"]]
        net += layer(f"res{place}{branch}", "Convolution", kernel, legacy)
        net += norm(f"{place}{branch}", tensors, f"{there}.{bn}", legacy)
  return net + layer("fc1000", "InnerProduct", [tensors["fc.weight"], tensors["fc.bias"]], legacy)
