"""Every combination of unit, shortcut and after-add mapping against the papers' formulas."""

import itertools
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from cross_entropy import cross_entropy
from hessian import check, forward_over_reverse, products
from jax import lax
from straight_line import Net

from resnet_jax import models
from resnet_jax.config import default_config, load_file
from resnet_jax.data import augment
from resnet_jax.data.order import batch_indices
from resnet_jax.errors import UserError
from resnet_jax.models import convolution, resnet
from resnet_jax.models.layers import written
from resnet_jax.models.orders import AFTER_ADD
from resnet_jax.models.resnet import REMAT
from resnet_jax.models.shortcuts import SHORTCUTS
from resnet_jax.models.units import UNITS, ResidualUnit
from resnet_jax.training import steps
from resnet_jax.training.setup import setup
from tests.hurry import evaluate

UNITS_A_STAGE = 3
# The ways in which a net may be computed: by kernels of our own; by XLA's for a CPU; and by the
# library's convolution, which accelerators get.
OTHERS = {"kernels": "library"}
PATHS = [{}, {"remat": "none"}, {"remat": "unit"}, {"unroll": 2}, OTHERS, "library"]


def make(unit, shortcut, after_add, **more):
  config = default_config().model
  config.unit, config.shortcut, config.after_add = unit, shortcut, after_add
  config.depth = 3 * UNITS_A_STAGE * len(UNITS[unit](16)) + 2
  config.projection = "B" if unit == "bottleneck" else "A"
  config.dtype = "float64"
  if shortcut == "scaling":
    config.shortcut_scale, config.residual_scale = 0.5, 0.7
  if "gating" in shortcut:
    config.gate_bias = -1.0
  config.update(more)
  return config


def drawn(shapes, key):
  """Weights of these shapes, or statistics: nothing in them is zero or one or alike."""
  leaves, tree = jax.tree.flatten_with_path(shapes)
  values = []
  for number, (path, leaf) in enumerate(leaves):
    noise = np.random.default_rng((key, number)).standard_normal(leaf.shape)
    kernel = len(leaf.shape) > 2
    around = {"scale": 1, "var": 1}.get(path[-1].key, 0)
    size = math.sqrt(1 / math.prod(leaf.shape[-4:-1])) if kernel else 0.1
    values.append(jnp.asarray(around + size * noise, leaf.dtype))
  return jax.tree.unflatten(tree, values)


def compare(config, size=4):
  """Loss, statistics and gradients of both, from the same weights, none of them trivial."""
  model = models.build(config, 5)
  x = jnp.asarray(np.random.default_rng(0).standard_normal((4, size, size, 2)))
  labels = jnp.arange(4) % 5
  key = jax.random.key(1)
  shapes = jax.eval_shape(model.init, key, x)
  params, stats = drawn(shapes["params"], 1), drawn(shapes["batch_stats"], 2)

  def ours(params):
    loss, (_, new) = cross_entropy(model, params, stats, x, labels, key)
    return loss, new

  # Flax derives the key of a stream from the one given; the net hands it to its units.
  root = model.apply({}, rngs={"dropout": key}, method=lambda m: m.make_rng("dropout"))

  def theirs(params):
    net = Net(config, params, stats, root)
    logits = net.logits(x, resnet.units_per_stage(config))
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels]), net.new

  (loss, new), gradient = evaluate(jax.value_and_grad(ours, has_aux=True), params)
  # One operation after another: they are compiled once for all the combinations.
  (loss2, new2), gradient2 = jax.value_and_grad(theirs, has_aux=True)(params)
  np.testing.assert_allclose(loss, loss2, rtol=1e-11)
  reader = Net(config, params, new, root)
  for path, value in new2.items():
    for name in value:
      np.testing.assert_allclose(reader.get(new, path)[name], value[name], rtol=1e-8, atol=1e-12)
  assert sum(a.size for a in jax.tree.leaves(new2)) == sum(a.size for a in jax.tree.leaves(new))
  scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10 * scale),
    gradient,
    gradient2,
  )


def take(path, monkeypatch):
  """The settings that take a path."""
  if path != "library":
    return path
  monkeypatch.setattr(convolution, "_for_cpu", lax.conv_general_dilated)
  return OTHERS


def combinations():
  """All of them, the paths dealt out so that each meets every pair of names."""
  tables = (("basic", "bottleneck", "single"), SHORTCUTS, AFTER_ADD)
  for numbered in itertools.product(*map(enumerate, tables)):
    numbers, names = zip(*numbered, strict=True)
    yield *names, PATHS[sum(numbers) % len(PATHS)]


def shorten(monkeypatch, *units):
  """Nets of these stages alone: the later ones differ from the second in their width only."""
  monkeypatch.setattr(resnet, "units_per_stage", lambda config: units)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "shortcut", "after_add", "path"), combinations())
def test_combination(x64, monkeypatch, unit, shortcut, after_add, path):
  """Every place of a unit: first of the net, where the shape changes, and two in a loop."""
  shorten(monkeypatch, 1, 3)
  config = make(unit, shortcut, after_add, **take(path, monkeypatch))
  if shortcut == "none" and after_add in ("bn_after_add", "relu_before_add"):
    with pytest.raises(UserError, match="make no sense together"):
      models.build(config, 5)
    return
  compare(config)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("unit", "shortcut", "after_add"),
  [
    ("basic", "identity", "original"),
    ("bottleneck", "exclusive_gating", "full_preact"),
    ("basic", "dropout", "bn_after_add"),
  ],
)
def test_evaluation_mode(x64, unit, shortcut, after_add):
  config = make(unit, shortcut, after_add)
  model = models.build(config, 5)
  x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4, 4, 2)))
  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  variables = {name: drawn(shapes[name], number) for number, name in enumerate(shapes)}
  net = Net(config, variables["params"], variables["batch_stats"], None, train=False)
  ours, theirs = evaluate(model.apply, variables, x), net.logits(x, resnet.units_per_stage(config))
  np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(
  "more",
  [
    {"projection": "B"},
    {"projection": "C"},
    {"norm": {"group_size": 2}},
    {"unit": "bottleneck", "projection": "B", "stride_on": "3x3", "depth": 29},
    {"remat": "unit", "unroll": 5},
  ],
)
def test_settings(x64, monkeypatch, more):
  shorten(monkeypatch, 1, 3)
  plain = {"unit": "basic", "shortcut": "identity", "after_add": "original"}
  compare(make(**plain | more), size=8)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("unit", "depth", "shortcut", "after_add", "more"),
  [
    ("basic", 18, "identity", "original", {"pool_padding": "end", "projection": "C"}),
    ("basic", 18, "exclusive_gating", "full_preact", {}),
    ("basic", 18, "none", "relu_only_preact", {}),
    ("basic", 18, "dropout", "relu_before_add", {"projection": "A"}),
    ("bottleneck", 50, "identity", "full_preact", {"stride_on": "3x3"}),
    ("bottleneck", 50, "conv", "bn_after_add", {"remat": "unit"}),
  ],
)
def test_imagenet_nets(x64, monkeypatch, unit, depth, shortcut, after_add, more):
  """The first of each kind of unit whole, the others with two stages."""
  if shortcut != "identity":
    shorten(monkeypatch, 1, 3)
  more = {"family": "imagenet", "depth": depth, "projection": "B"} | more
  compare(make(unit, shortcut, after_add, **more), size=48 if unit == "bottleneck" else 16)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_path(x64, monkeypatch, path):
  shorten(monkeypatch, 1, 3)
  plain = {"unit": "bottleneck", "shortcut": "identity", "after_add": "full_preact"}
  compare(make(**plain | take(path, monkeypatch)))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("unit", "shortcut", "after_add", "depth", "path"),
  [
    ("basic", "identity", "original", 20, {"unroll": 2}),
    ("basic", "none", "original", 56, {"remat": "unit"}),
    ("bottleneck", "identity", "full_preact", 164, {}),
  ],
)
def test_whole_net(x64, unit, shortcut, after_add, depth, path):
  compare(make(unit, shortcut, after_add, depth=depth, **path), size=16)


def near(found, expected, layers):
  """Each leaf to ten float32 roundings a layer of its largest value."""
  found, expected = map(jax.tree.leaves, (found, expected))
  sizes = [float(jnp.abs(b).max()) for b in expected]
  for a, b, size in zip(found, expected, sizes, strict=True):
    assert a.dtype == np.float32 and b.dtype == np.float64
    size = size if size > 1e-12 * max(sizes) else max(sizes)  # a bias in front of a BN has none
    atol = 10 * layers * np.finfo(np.float32).eps * size
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def places():
  """All combinations that make sense, the places of a unit dealt out as above."""
  for number, (unit, shortcut, after_add, _) in enumerate(combinations()):
    if shortcut != "none" or after_add not in ("bn_after_add", "relu_before_add"):
      yield unit, shortcut, after_add, ("inside", "shape changes")[number % 2]


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "shortcut", "after_add", "where"), places())
def test_unit_in_float32(x64, unit, shortcut, after_add, where):
  """Output and gradients of each combination, by the formulas in float64."""
  config = make(unit, shortcut, after_add, dtype="float32")
  width, stride, activation = (16, 1, "own") if where == "inside" else (32, 2, "shared")
  frozen = ml_collections.FrozenConfigDict(config)
  model = ResidualUnit(frozen, width, strides=stride, activation=activation, train=True)
  channels = 64 if unit == "bottleneck" else 16
  x = np.random.default_rng(0).standard_normal((4, 4, 4, channels)).astype(np.float32)
  key = jax.random.key(1)
  shapes = jax.eval_shape(model.init, key, x, 0, key)
  params, stats = drawn(shapes["params"], 1), drawn(shapes.get("batch_stats", {}), 2)

  def loss(y):
    return jnp.vdot(y, jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)), y

  def ours(params, x):
    variables = {"params": params, "batch_stats": stats}
    return loss(written(model.apply(variables, x, 0, key, mutable=["batch_stats"])[0]))

  def theirs(params, x):
    return loss(Net(config, params, stats, key).unit(x, (), width, stride, where, 0))

  (_, y), gradients = evaluate(jax.value_and_grad(ours, (0, 1), has_aux=True), params, x)
  params, stats, x = jax.tree.map(jnp.float64, (params, stats, x))
  (_, y2), gradients2 = jax.value_and_grad(theirs, (0, 1), has_aux=True)(params, x)
  near((y, gradients), (y2, gradients2), 20)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("unit", "after_add", "depth"), [("basic", "original", 20), ("bottleneck", "full_preact", 29)]
)
def test_net_in_float32(x64, unit, after_add, depth):
  config = make(unit, "identity", after_add, dtype="float32", depth=depth)
  model = models.build(config, 5)
  x = np.random.default_rng(0).standard_normal((4, 8, 8, 2)).astype(np.float32)
  key = jax.random.key(1)
  shapes = jax.eval_shape(model.init, key, x)
  params, stats = drawn(shapes["params"], 1), drawn(shapes["batch_stats"], 2)

  def loss(logits):
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), jnp.arange(4)]), logits

  def ours(params):
    variables = {"params": params, "batch_stats": stats}
    return loss(model.apply(variables, x, train=True, mutable=["batch_stats"])[0])

  def theirs(params):
    return loss(Net(config, params, stats, key).logits(x, resnet.units_per_stage(config)))

  (_, logits), gradient = evaluate(jax.value_and_grad(ours, has_aux=True), params)
  params, stats, x = jax.tree.map(jnp.float64, (params, stats, x))
  (_, logits2), gradient2 = jax.value_and_grad(theirs, has_aux=True)(params)
  near((logits, gradient), (logits2, gradient2), depth)


def second_derivatives(derive, remat, **more):
  """Of a loss by the weights of a net with 1x1 and 3x3 convolutions in its scans, and v."""
  config = make("single", "conv", "full_preact", remat=remat, **more)
  model = models.build(config, 5)
  x, labels = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4, 4, 2))), jnp.arange(4)
  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  params, v = (drawn(shapes["params"], key) for key in (1, 2))
  stats = drawn(shapes["batch_stats"], 3)

  def loss(params):
    return cross_entropy(model, params, stats, x, labels)[0]

  return evaluate(lambda *given: derive(loss, *given), (params,), (v,)), v


@pytest.fixture(scope="module")
def librarys():
  """H v with the library's convolution."""
  with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
    patch.setattr(convolution, "_for_cpu", lax.conv_general_dilated)
    return second_derivatives(forward_over_reverse, "none", **OTHERS)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["auto", "library"])
@pytest.mark.parametrize("remat", REMAT)
def test_second_derivatives(x64, librarys, remat, kernels):
  found, v = second_derivatives(products, remat, kernels=kernels)
  check(found, librarys, v)


@pytest.mark.slow
def test_steps_of_a_float64_run(repository, monkeypatch, x64):
  """Images, loss, gradient, weight decay, momentum and rate are the run's and are written here."""
  monkeypatch.chdir(repository)
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype, config.data.pad, config.optim.warmup = "float64", 1, "2 steps"
  run, count = setup(config), 4
  begin = jax.jit(lambda: steps.init(run.learner, (8, 8, 1)))()
  state, measured = evaluate(steps.dispatch(run.learner, count), begin, run.train, np.int32(count))

  def loss(params, x, y):
    logits = Net(config.model, params, begin.batch_stats, None).logits(x, (1, 1, 1))
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(16), y])

  images, labels = run.dataset.train
  mean = images.mean(0, dtype=np.longdouble) / 255
  params, velocity = begin.params, jax.tree.map(jnp.zeros_like, begin.params)
  differentiate = jax.jit(jax.value_and_grad(loss))
  order = batch_indices(run.learner.key(1), 0, count, 16, len(labels))
  for step, chosen in enumerate(np.asarray(order)):
    key = jax.random.split(jax.random.fold_in(run.learner.key(2), step))[0]
    x = np.float64(images[chosen].astype(np.longdouble) / 255 - mean)
    x = augment.random_crop_flip(key, jnp.asarray(x), 1, False)
    value, gradient = differentiate(params, x, labels[chosen])
    np.testing.assert_allclose(measured["loss"][step], value, rtol=1e-12)
    rate = 0.01 if step < 2 else 0.05 * (1 + math.cos(math.pi * step / 1440))
    velocity = jax.tree.map(
      lambda v, g, w, rate=rate: 0.9 * v + rate * (g + 2e-3 * w), velocity, gradient, params
    )
    params = jax.tree.map(lambda w, v: w - v, params, velocity)
  for ours, theirs in zip(*map(jax.tree.leaves, (state.params, params)), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
