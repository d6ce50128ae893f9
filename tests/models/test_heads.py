"""The maps of a backbone by name, at every output stride, and heads of one's own on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from resnet_jax import models
from resnet_jax.config import default_config
from resnet_jax.errors import UserError
from resnet_jax.models import resnet
from resnet_jax.models.layers import Conv
from tests.hurry import evaluate

BOTTLENECK = {"depth": 50, "unit": "bottleneck", "projection": "B"}
PREACT = BOTTLENECK | {"after_add": "full_preact"}


def net(**settings):
  config = default_config().model
  config.update({"family": "imagenet", "depth": 18, "projection": "B"} | settings)
  return config


class Segmenter(nn.Module):
  """A class for each position of the last map, and of a finer one."""

  classes: int

  @nn.compact
  def __call__(self, maps, train):
    coarse, fine = maps["stage4"], maps["stage2"]
    scores = nn.Conv(self.classes, (1, 1), name="scores")(coarse.array)
    scale = coarse.stride // fine.stride
    return scores.repeat(scale, 1).repeat(scale, 2), fine.stride


def shapes(model, size=64, **options):
  image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, **options), image)


@pytest.mark.parametrize(
  ("settings", "expected"),
  [
    ({"family": "cifar", "depth": 20}, {"stem": 1, "stage1": 1, "stage2": 2, "stage3": 4}),
    ({}, {"stem": 4, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32}),
    ({"output_stride": 16}, {"stem": 4, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 16}),
    ({"output_stride": 8}, {"stem": 4, "stage1": 4, "stage2": 8, "stage3": 8, "stage4": 8}),
  ],
)
def test_maps_have_strides(settings, expected):
  backbone = models.build(net(**settings), 10).clone(head=None)
  image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
  maps, _ = jax.eval_shape(lambda x: backbone.init_with_output(jax.random.key(0), x), image)
  assert {name: found.stride for name, found in maps.items()} == expected
  for found in maps.values():
    assert found.array.shape[1:3] == (64 // found.stride,) * 2


def test_a_head_of_ones_own_stands_beside_the_backbone():
  config = net(output_stride=8)
  theirs, ours = models.build(config, 10), models.build(config, head=Segmenter(21, name="seg"))
  assert (theirs.classes, ours.classes) == (10, 21)
  plain, own = shapes(theirs), shapes(ours)
  assert own["params"].pop("seg")["scores"]["kernel"].shape == (1, 1, 512, 21)
  assert plain["params"].pop("classifier").keys() == {"kernel", "bias"}
  assert jax.tree.structure(own) == jax.tree.structure(plain)
  image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
  (scores, stride) = jax.eval_shape(ours.init_with_output, jax.random.key(0), image)[0]
  assert scores.shape == (2, 8, 8, 21)
  assert shapes(models.build(config, head=Segmenter(21)))["params"].keys() >= {"head"}


def test_the_last_map_of_a_preactivation_net_is_activated(monkeypatch):
  monkeypatch.setattr(resnet, "units_per_stage", lambda config: (1, 2))
  backbone = models.build(net(**PREACT), 10).clone(head=None)
  x = np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)
  maps, variables = evaluate(backbone.init_with_output, jax.random.key(0), x)
  assert maps["stage1"].array.min() < 0 <= maps["stage2"].array.min()
  assert "last_bn" in variables["params"]


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize(
  "settings",
  [
    {},
    BOTTLENECK | {"stride_on": "3x3"},
    PREACT | {"stride_on": "1x1", "projection": "C"},
  ],
)
def test_dilation_only_computes_more_positions(x64, monkeypatch, settings, output_stride):
  """At the positions that the plain net has, the maps of a dilated one are the same."""
  monkeypatch.setattr(resnet, "units_per_stage", lambda config: (1, 1, 1, 2))
  monkeypatch.setattr(resnet, "WIDTHS", {"imagenet": (4, 6, 8, 10)})
  plain, dilated = (
    models.build(net(dtype="float64", output_stride=stride, **settings), 10).clone(head=None)
    for stride in (32, output_stride)
  )
  x = np.random.default_rng(0).standard_normal((1, 90, 64, 3))
  expected, variables = evaluate(plain.init_with_output, jax.random.key(0), x)
  found = evaluate(dilated.apply, variables, x)
  for name in ("stage3", "stage4"):
    finer = expected[name].stride // found[name].stride
    assert found[name].array.shape[1] > 3
    np.testing.assert_allclose(
      found[name].array[:, ::finer, ::finer], expected[name].array, rtol=1e-11, atol=1e-12
    )


def test_dilations_are_torchvisions():
  """Those of resnet50(replace_stride_with_dilation=(False, True, True)), stride on the 3x3."""
  model, found = models.build(net(**BOTTLENECK, stride_on="3x3", output_stride=8), 10), {}

  def note(call, args, kwargs, context):
    if isinstance(context.module, Conv) and context.module.kernel == 3:
      stage, unit, _ = context.module.path
      found[stage, unit] = context.module.dilation, context.module.strides
    return call(*args, **kwargs)

  with nn.intercept_methods(note):
    shapes(model)
  assert found["stage2", "first"] == (1, 2) and found["stage2", "rest"] == (1, 1)
  assert found["stage3", "first"] == (1, 1) and found["stage3", "rest"] == (2, 1)
  assert found["stage4", "first"] == (2, 1) and found["stage4", "rest"] == (4, 1)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"output_stride": 4}, "model.output_stride=4 must be 32, 16 or 8"),
    (
      {"family": "cifar", "depth": 20, "output_stride": 8},
      "model.family=cifar, model.output_stride=8 make no sense together: CIFAR nets end at a",
    ),
  ],
)
def test_refused(settings, message):
  with pytest.raises(UserError, match=message):
    models.build(net(**settings), 10)
