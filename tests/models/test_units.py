"""Parts of one's own: what they know and see, F as a function, and rows of other layers."""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from cross_entropy import cross_entropy
from flax import linen as nn
from straight_line import conv

import resnet_jax
from resnet_jax import models
from resnet_jax.config import default_config
from resnet_jax.errors import UserError
from resnet_jax.models.layers import written
from resnet_jax.models.units import ResidualUnit
from tests.hurry import evaluate

UNITS_A_STAGE = 3


def net(own=None, **settings):
  """A `config.model` of nine units; `own` are settings of registered parts, by their names."""
  config = default_config().model
  config.update({"depth": 6 * UNITS_A_STAGE + 2} | settings)
  with config.unlocked():
    for name, values in (own or {}).items():
      config[name] = ml_collections.ConfigDict(values)
  return config


def variables_of(model, size=8):
  """Zeros in the shapes of the variables."""
  x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.fixture
def sowing():
  @resnet_jax.shortcut("sowing")
  def sowing(unit, x, key):
    unit.sow("intermediates", "number", unit.number)
    unit.sow("intermediates", "total", unit.total)
    h = unit.project(x)
    unit.sow("intermediates", "mean", h.mean())
    return h, 1


@pytest.mark.parametrize("ways", [{"remat": "none"}, {"remat": "unit"}, {"unroll": 2}])
def test_what_units_sow_is_that_of_every_unit(sowing, ways):
  config = net(shortcut="sowing", projection="B", after_add="full_preact", **ways)
  model, x = models.build(config, 10), np.ones((2, 8, 8, 3), np.float32)

  def apply(key):
    variables = model.init(key, x)
    return model.apply(variables, x, train=True, mutable=["batch_stats", "intermediates"])[1]

  units = models.by_unit(config, evaluate(apply, jax.random.key(0))["intermediates"])
  assert [int(unit["number"][0]) for unit in units] == list(range(9))
  assert {int(unit["total"][0]) for unit in units} == {9}
  assert len({float(unit["mean"][0]) for unit in units}) == 9


@pytest.mark.slow
def test_all_the_units_of_1001_layers_are_seen(sowing):
  bottleneck = {"unit": "bottleneck", "projection": "B", "after_add": "full_preact"}
  config = net(depth=1001, shortcut="sowing", **bottleneck)
  model = models.build(config, 10)
  apply = functools.partial(model.apply, mutable=["intermediates"])
  seen = evaluate(apply, variables_of(model), np.ones((2, 8, 8, 3), np.float32))[1]
  units = models.by_unit(config, jax.device_get(seen["intermediates"]))
  assert [int(unit["number"][0]) for unit in units] == list(range(333))


def test_a_tree_is_cut_into_units():
  config = net()
  params = variables_of(models.build(config, 10))["params"]
  params["stage2"]["rest"]["bn1"]["scale"] += jnp.arange(2.0)[:, None]
  units = models.by_unit(config, params)
  assert len(units) == 9 and units[3]["conv1"]["kernel"].shape == (3, 3, 16, 32)
  assert [float(unit["bn1"]["scale"][0]) for unit in units[3:6]] == [0, 0, 1]


STOCHASTIC = '''
import jax
import resnet_jax

@resnet_jax.residual("stochastic", survival=0.5)
def stochastic(unit, F, key):
  """Stochastic depth with linear decay."""
  p = 1 - (unit.number + 1) / unit.total * (1 - unit.config.stochastic.survival)
  if not unit.train:
    return p * F()
  return unit.only_if(jax.random.bernoulli(key, p), F)
'''


@pytest.fixture
def stochastic():
  exec(STOCHASTIC, {"__name__": "mine"})


@pytest.mark.parametrize("after_add", ["original", "full_preact"])
def test_a_unit_that_is_left_out_is_its_shortcut(x64, stochastic, after_add):
  """At a survival of 0 the last unit is h alone in training, at 1 it is the plain unit."""
  x = np.random.default_rng(0).standard_normal((2, 4, 4, 16))

  def last(residual, survival, train, **also):
    own = {"stochastic": {"survival": survival}}
    config = net(own, after_add=after_add, residual=residual, dtype="float64")
    unit = ResidualUnit(ml_collections.FrozenConfigDict(config), 16, train=train, total=9)
    variables = unit.init(jax.random.key(0), x)

    def apply(*arguments):
      y, new = unit.apply(*arguments, mutable=["batch_stats"])
      return written(y), new

    return variables["batch_stats"], *evaluate(apply, variables, x, 8, jax.random.key(1))

  before, plain, moved = last("always", 0.0, True)
  begun, skipped, kept = last("stochastic", 0.0, True)
  jax.tree.map(np.testing.assert_array_equal, begun, before)
  jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], before)
  f = nn.relu if after_add == "original" else lambda h: h
  np.testing.assert_array_equal(skipped, f(x))
  _, whole, new = last("stochastic", 1.0, True)
  np.testing.assert_allclose(whole, plain, rtol=1e-12)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), new, moved)
  # In evaluation F is scaled; without an f it stands apart from h.
  if after_add == "full_preact":
    whole, half = last("always", 0.0, False)[1], last("stochastic", 0.25, False)[1]
    np.testing.assert_allclose(half - x, 0.25 * (whole - x), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["none", "norm", "unit"])
def test_a_step_skips_units_by_their_coins(stochastic, remat):
  config = net({"stochastic": {"survival": 0.2}}, residual="stochastic", remat=remat)
  model, x = models.build(config, 10), np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
  labels, key = jnp.arange(2), jax.random.key(3)
  variables = variables_of(model)

  def loss(params, stats):
    return cross_entropy(model, params, stats, x, labels, key)

  lowered = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(
    variables["params"], variables["batch_stats"]
  )
  text = lowered.as_text()
  assert text.count("stablehlo.case") >= 6  # forward, of a first unit and of a loop in each stage
  if remat != "norm":
    return
  params = evaluate(lambda: model.init(jax.random.key(0), x))["params"]
  gradient, (_, new) = evaluate(jax.grad(loss, has_aux=True), params, variables["batch_stats"])
  root = model.apply({}, rngs={"dropout": key}, method=lambda m: m.make_rng("dropout"))
  keys = [jax.random.fold_in(jax.random.fold_in(root, number), 1) for number in range(9)]
  coins = [bool(jax.random.bernoulli(k, 1 - (n + 1) / 9 * 0.8)) for n, k in enumerate(keys)]
  moved = [bool(np.any(unit["bn2"]["var"] > 0)) for unit in models.by_unit(config, new)]
  trained = [
    bool(np.any(unit["conv1"]["kernel"] != 0)) for unit in models.by_unit(config, gradient)
  ]
  assert moved == trained == coins and 0 < sum(coins) < 9


@pytest.fixture
def layers():
  @resnet_jax.norm("GN", groups=8)
  def group_norm(unit, x, name):
    return nn.GroupNorm(unit.config.GN.groups, epsilon=1e-5, param_dtype=x.dtype, name=name)(x)

  @resnet_jax.layer("LReLU", slope=0.1)
  def leaky_relu(unit, x, name):
    return nn.leaky_relu(x, unit.config.LReLU.slope)

  @resnet_jax.layer("GELU")
  def gelu(unit, x, name):
    return nn.gelu(x)

  @resnet_jax.layer("SE", reduction=4)
  def squeeze_excite(unit, x, name):
    inner = x.shape[-1] // unit.config.SE.reduction
    s = nn.relu(nn.Dense(inner, name=f"{name}_reduce")(x.mean((1, 2))))
    return x * nn.sigmoid(nn.Dense(x.shape[-1], name=f"{name}_expand")(s))[:, None, None]

  resnet_jax.after_add("leaky")("conv [GN LReLU conv] GN | LReLU")
  resnet_jax.after_add("gelu")("GN GELU conv [GN GELU conv] |")
  resnet_jax.after_add("excited")("conv [BN ReLU conv] BN SE | ReLU")
  return {"GN": {"groups": 4}, "LReLU": {"slope": 0.3}, "SE": {"reduction": 8}}


def test_a_row_of_ones_own_is_what_it_says(x64, layers):
  config = net(layers, after_add="leaky", dtype="float64")
  unit = ResidualUnit(ml_collections.FrozenConfigDict(config), 16)
  random = np.random.default_rng(0)
  x = random.standard_normal((2, 4, 4, 16))
  shapes = jax.eval_shape(unit.init, jax.random.key(0), x)
  assert shapes.keys() == {"params"}
  params = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape), shapes["params"])

  def group_norm(v, p):
    groups = v.reshape(2, 4, 4, 4, 4)
    centered = groups - groups.mean((1, 2, 4), keepdims=True)
    deviation = np.sqrt((centered**2).mean((1, 2, 4), keepdims=True) + 1e-5)
    return (centered / deviation).reshape(v.shape) * p["scale"] + p["bias"]

  def leaky(v):
    return np.where(v > 0, v, 0.3 * v)

  y = leaky(group_norm(np.asarray(conv(x, params["conv1"]["kernel"])), params["gn1"]))
  y = leaky(x + group_norm(np.asarray(conv(y, params["conv2"]["kernel"])), params["gn2"]))
  np.testing.assert_allclose(evaluate(unit.apply, {"params": params}, x), y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
  ("after_add", "expected"),
  [
    ("leaky", {"stem/gn", "stage2/first/projection_gn", "stage1/rest/gn2"}),
    ("gelu", {"stem/gn", "last_gn", "stage3/rest/gn1"}),
    ("excited", {"stem/bn", "stage2/first/projection_bn", "stage1/first/se1_reduce"}),
  ],
)
def test_layers_of_ones_own_are_in_the_whole_net(layers, stochastic, after_add, expected):
  """Also in bfloat16, which a norm may leave, and in units that may be left out."""
  own = layers | {"stochastic": {"survival": 0.5}}
  more = {"projection": "B", "residual": "stochastic", "dtype": "bfloat16"}
  model = models.build(net(own, after_add=after_add, **more), 10)
  variables = variables_of(model)
  apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
  rngs = {"dropout": jax.random.key(0)}
  x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
  logits, _ = jax.eval_shape(lambda v, x: apply(v, x, rngs=rngs), variables, x)
  assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)
  paths, _ = jax.tree.flatten_with_path(variables["params"])
  found = {"/".join(part.key for part in path[:-1]) for path, _ in paths}
  assert expected <= found
  assert ("batch_stats" in variables) == any("bn" in path for path in found)
  assert any("bn" in path for path in found) == (after_add == "excited")


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ("conv [BN RELU conv] BN | ReLU", "'wrong'='RELU' is unknown; did you mean 'ReLU'"),
    (
      "conv BN ReLU conv BN | ReLU",
      "'conv BN ReLU conv BN | ReLU' is no order of F and f; it must",
    ),
    ("conv [BN ReLU conv] BN ReLU", "it must read like 'conv [BN ReLU conv] BN | ReLU'"),
  ],
)
def test_a_row_that_is_none_is_refused(row, message):
  resnet_jax.after_add("wrong")(row)
  with pytest.raises(UserError) as caught:
    models.build(net(after_add="wrong"), 10)
  assert message in str(caught.value)


def test_a_part_that_is_not_registered_is_named():
  for key in ("after_add", "residual", "shortcut", "unit"):
    with pytest.raises(UserError, match=f"model.{key}='mine' is unknown; .* with its @{key}"):
      models.build(net(**{key: "mine"}), 10)


@pytest.mark.parametrize("h", [0, 0.5, "mean", "float32"])
def test_a_shortcut_may_make_any_shape_that_adds_to_f(x64, h):
  """Only one that is a map like F is added within a convolution."""

  @resnet_jax.shortcut("any")
  def any_shape(unit, x, key):
    if h == "mean":
      return x.mean((1, 2), keepdims=True), 1
    return (x.astype(jnp.float32), 1) if h == "float32" else (h, 1)

  x = np.random.default_rng(0).standard_normal((2, 4, 4, 16))
  config = {"after_add": "full_preact", "dtype": "float64", "shortcut": "any"}

  def output(**more):
    unit = ResidualUnit(ml_collections.FrozenConfigDict(net(**config | more)), 16, train=True)
    variables = unit.init(jax.random.key(0), x)
    return written(
      evaluate(functools.partial(unit.apply, mutable=["batch_stats"]), variables, x)[0]
    )

  np.testing.assert_allclose(output(), output(kernels="library"), rtol=1e-6, atol=1e-9)


def test_a_shortcut_may_stand_where_the_shape_changes_alone(x64):
  @resnet_jax.shortcut("seldom")
  def seldom(unit, x, key):
    return (unit.project(x) if unit.strides > 1 else 0), 1

  x = np.random.default_rng(0).standard_normal((2, 8, 8, 3))

  def output(**more):
    config = {"after_add": "full_preact", "dtype": "float64", "shortcut": "seldom"}
    model = models.build(net(**config | more), 10)
    variables = model.init(jax.random.key(0), x)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    return evaluate(apply, variables, x)[0]

  np.testing.assert_allclose(output(), output(kernels="library"), rtol=1e-9, atol=1e-12)
