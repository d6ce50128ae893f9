"""Parameters, layers and multiply-adds against the numbers that the papers print."""

import math

import jax
import numpy as np
import pytest

from resnet_jax import describe, models
from resnet_jax.config import default_config
from tests.hurry import evaluate


def net(**settings):
  config = default_config().model
  config.update(settings)
  return config


PREACT = {"unit": "bottleneck", "projection": "B", "after_add": "full_preact"}


@pytest.mark.parametrize(
  ("settings", "params"),
  [
    ({"depth": 20}, 269_722),
    ({"depth": 32}, 464_154),
    ({"depth": 44}, 658_586),
    ({"depth": 56}, 853_018),
    ({"depth": 110}, 1_727_962),
    ({"depth": 1202}, 19_421_274),
    ({"depth": 164, **PREACT}, 1_703_258),
    ({"depth": 1001, **PREACT}, 10_327_706),
  ],
)
def test_cifar(settings, params):
  found = describe.network(net(**settings), (32, 32, 3), 10)
  assert found["params"] == params
  assert found["depth"] == settings["depth"]


@pytest.mark.parametrize(
  ("depth", "unit", "millions", "multiply_adds"),
  [
    (18, "basic", 11.69, 1.8e9),
    (34, "basic", 21.80, 3.6e9),
    (50, "bottleneck", 25.56, 3.8e9),
    (101, "bottleneck", 44.55, 7.6e9),
    (152, "bottleneck", 60.19, 11.3e9),
  ],
)
def test_imagenet(depth, unit, millions, multiply_adds):
  config = net(family="imagenet", depth=depth, unit=unit, projection="B")
  found = describe.network(config, (224, 224, 3), 1000)
  assert round(found["params"] / 1e6, 2) == millions
  assert found["depth"] == depth
  # Published to two digits, projections included.
  assert found["multiply_adds"] == pytest.approx(multiply_adds, rel=0.02)


@pytest.mark.parametrize(
  ("depth", "unit", "units"),
  [
    (18, "basic", (2, 2, 2, 2)),
    (34, "basic", (3, 4, 6, 3)),
    (50, "bottleneck", (3, 4, 6, 3)),
    (101, "bottleneck", (3, 4, 23, 3)),
    (152, "bottleneck", (3, 8, 36, 3)),
    (200, "bottleneck", (3, 24, 36, 3)),
  ],
)
@pytest.mark.parametrize("shortcut", ["identity", "none"])
def test_imagenet_layers_are_those_of_the_table(depth, unit, units, shortcut):
  """[R] table 1: kernels, filters and maps of every layer from the stem to the classifier."""
  kernels = {"basic": (3, 3), "bottleneck": (1, 3, 1)}[unit]
  expected, channels = [(112, 64, 7 * 7 * 3 * 64)], 64
  for stage, count in enumerate(units):
    size, width = 56 // 2**stage, 64 * 2**stage
    for _ in range(count):
      for index, kernel in enumerate(kernels):
        filters = 4 * width if unit == "bottleneck" and index == 2 else width
        expected.append((size, filters, kernel**2 * channels * filters))
        channels = filters
  config = net(family="imagenet", depth=depth, unit=unit, projection="B", shortcut=shortcut)
  found = describe.network(config, (224, 224, 3), 1000)["layers"]
  path = [layer for layer in found if layer["number"]]
  convolutions = [(layer["output"][0], layer["output"][-1], layer["params"]) for layer in path]
  assert convolutions[:-1] == expected
  assert path[-1]["output"] == (1000,) and path[-1]["params"] == 1000 * channels
  projections = [layer for layer in found if not layer["number"]]
  # B: where a stage changes the shape; the first stage of basic units does not.
  assert len(projections) == (0 if shortcut == "none" else 4 if unit == "bottleneck" else 3)


@pytest.mark.slow
@pytest.mark.parametrize(
  "settings",
  [
    {"depth": 18},
    {"depth": 34, "shortcut": "none"},
    {"depth": 50, "unit": "bottleneck", "stride_on": "3x3"},
    {"depth": 50, **PREACT},
  ],
)
def test_imagenet_forward(settings):
  model = models.build(net(**{"family": "imagenet", "projection": "B"} | settings), 1000)
  images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
  variables = evaluate(model.init, jax.random.key(0), images)
  logits = evaluate(model.apply, variables, images)
  assert logits.shape == (2, 1000)
  assert np.isfinite(logits).all() and np.ptp(logits) > 0


def test_layers_add_up():
  found = describe.network(net(depth=110), (32, 32, 3), 10)
  norms = 2 * (16 * 37 + 32 * 36 + 64 * 36)  # scale and shift of the stem's and each unit's two
  assert sum(layer["params"] for layer in found["layers"]) + norms + 10 == found["params"]
  stem = found["layers"][0]
  assert stem["multiply_adds"] == 32 * 32 * math.prod((3, 3, 3, 16))
