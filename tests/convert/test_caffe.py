"""Released nets of Caffe, from files written byte by byte."""

import caffemodel
import numpy as np
import pytest
from caffemodel import field, layer

from resnet_jax.convert import caffe, files
from resnet_jax.errors import UserError

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.standard_normal((4, 3, 2, 2)).astype(np.float32)
VECTORS = {
  f"bn1.{name}": RANDOM.uniform(1, 2, 4).astype(np.float32)
  for name in ("weight", "bias", "running_mean", "running_var")
}
MATRIX = RANDOM.standard_normal((5, 4)).astype(np.float32)


def net(legacy=False, bias=()):
  return (
    layer("conv1", "Convolution", [KERNEL, *bias], legacy)
    + caffemodel.norm("_conv1", VECTORS, "bn1", legacy)
    + layer("fc1000", "InnerProduct", [MATRIX, np.arange(5)], legacy)
  )


@pytest.mark.parametrize("legacy", [False, True])
def test_both_forms_of_shapes(legacy):
  found = caffe.read(net(legacy))
  np.testing.assert_array_equal(found["conv1.weight"], KERNEL[:, [2, 1, 0]])
  for name, value in VECTORS.items():
    np.testing.assert_allclose(found[name.replace("bn1", "bn_conv1")], value, rtol=1e-6)
  np.testing.assert_array_equal(found["fc1000.weight"], MATRIX)
  np.testing.assert_array_equal(found["fc1000.bias"], np.arange(5))
  assert len(found) == 7


def test_the_first_bias_is_read_as_it_is():
  """It is folded into BN's mean where every reader's are (test_convert.py)."""
  bias = RANDOM.standard_normal(4).astype(np.float32)
  with_bias, without = caffe.read(net(bias=[bias])), caffe.read(net())
  np.testing.assert_array_equal(with_bias.pop("conv1.bias"), bias)
  assert with_bias.keys() == without.keys()
  for name in without:
    np.testing.assert_array_equal(with_bias[name], without[name])


def test_floats_that_are_not_packed():
  body = field(1, b"res2a_branch1") + field(2, b"Convolution")
  body += field(7, caffemodel.unpacked(KERNEL))
  found = caffe.read(field(100, body))
  np.testing.assert_array_equal(found["res2a_branch1.weight"], KERNEL)


OLD = field(2, field(4, b"conv1") + field(6, caffemodel.blob(KERNEL)))
FALSE_SHAPE = field(7, field(1, bytes([4, 4]))) + field(5, KERNEL.tobytes())


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (net()[:-7], "it is no protobuf of a net"),
    (b"no weights at all", "it is no protobuf of a net"),
    (OLD, "its layers are of the oldest format; upgrade_net_proto_binary"),
    (
      field(100, field(1, b"conv1") + field(2, b"Convolution") + field(7, FALSE_SHAPE)),
      r"a blob of shape \[4, 4\] has 48 values",
    ),
    (layer("conv1", "Convolution", [np.ones(3)]), "its blobs have shapes that no such net has"),
    (b"", "holds no tensors"),
  ],
)
def test_what_is_no_net(tmp_path, data, message):
  path = tmp_path / "net.caffemodel"
  path.write_bytes(data)
  with pytest.raises(UserError, match=message) as error:
    files.read(path)
  assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
