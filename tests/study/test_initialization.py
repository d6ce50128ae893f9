"""Initialization: measured variances against the formulas, and against what they are made of."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from configs import plain
from resnet_jax import models
from resnet_jax.errors import UserError
from resnet_jax.study.measures import initialization as measures
from resnet_jax.study.net import Net
from tests import hurry

LAYERS, WIDTH, EXAMPLES, DRAWS = 6, 16, 4, 192
SIGMA = 4.5  # standard errors; a mean goes farther once in a hundred thousand
# Var[w] of a layer from so many channels to so many, by the papers; g of an activation.
VARIANCE = {
  "xavier": lambda c, o: 2 / (9 * c + 9 * o),
  "msra": lambda c, o: 2 / (9 * c),
  "msra_fan_out": lambda c, o: 2 / (9 * o),
  "lecun": lambda c, o: 1 / (9 * c),
  "orthogonal": lambda c, o: 1 / max(9 * c, o),
  "pytorch": lambda c, o: 1 / (3 * 9 * c),
}
GAIN = {"linear": 1, "relu": 1 / 2, "prelu": (1 + 0.25**2) / 2}


def config(dtype="float32", init="msra", **settings):
  made = plain.get_config("digits")
  made.model.init, made.model.dtype = init, dtype
  made.model.plain.update({"layers": LAYERS, "width": WIDTH} | settings)
  return made


def stacked(tree, name):
  first, rest = (np.float64(tree[part]["conv"][name]) for part in ("first", "rest"))
  return np.concatenate([first[:, None], rest], 1)


@functools.cache
def observed(activation):
  """The images, and signals, gradients and noise [draws, L, H, W] of the variables of draws."""
  some = Net(config(activation=activation), examples=EXAMPLES)
  observe, images = jax.jit(functools.partial(lax.map, measures.observer(some))), some.batch.images
  template = some.setup.template.variables
  shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct((DRAWS, *a.shape), a.dtype), template)
  compiled = observe.lower({"params": shapes["params"]}).compile(hurry.OPTIONS)

  def squares(variables):
    sown, *gradients = compiled(variables)
    signals = {part: {"conv": {"y": sown[part]["conv"]["y"][0]}} for part in sown}
    return stacked(signals, "y"), *(stacked(one, "x") for one in gradients)

  return images, squares


def deviations(differences):
  """The means over draws [draws, L] in standard errors, which the draws themselves tell."""
  errors = differences.std(0, ddof=1) / np.sqrt(len(differences))
  return np.abs(differences.mean(0)) / errors


CASES = [*itertools.product(VARIANCE, ["relu"])]
CASES += itertools.product(["msra", "orthogonal"], ["linear", "prelu"])


@pytest.mark.slow
@pytest.mark.parametrize(("init", "activation"), CASES)
def test_variances_are_the_formulas_within_the_sampling_error(init, activation):
  images, squares = observed(activation)
  model = models.build(config(init=init, activation=activation).model, 10)
  draw = jax.vmap(lambda key: model.init(key, images))
  variables = hurry.evaluate(draw, jax.random.split(jax.random.key(1), DRAWS))
  signals, gradients, noise = squares(variables)
  layers = [
    measures.Layer(c, o, VARIANCE[init](c, o), GAIN[activation])
    for c, o in itertools.pairwise([1, *[WIDTH] * LAYERS])
  ]
  said = np.array([*measures.forward(np.square(np.float64(images)).mean((0, 3)), layers)])
  assert max(deviations((signals - said).mean((2, 3)))) < SIGMA

  def backward(gradients):  # without the last, where the formula begins
    by_formula = [[*measures.backward(last, layers)][::-1] for last in gradients[:, -1]]
    return (gradients - by_formula).mean((2, 3))[:, :-1]

  assert max(deviations(backward(noise))) < SIGMA
  if activation == "linear":  # then it does not matter with what the gradient begins
    assert max(deviations(backward(gradients))) < SIGMA
  # A formula that is off by a tenth a layer is refuted by the same draws.
  off = said * (1.1 ** np.arange(1, LAYERS + 1))[:, None, None]
  assert max(deviations((signals - off).mean((2, 3)))) > SIGMA


def test_the_formula_without_borders_is_the_product():
  layers = [measures.Layer(4, 8, 0.03, 0.5), measures.Layer(8, 2, 0.05, 0.7)]
  x = np.random.default_rng(0).random((5, 6))
  y = [*measures.forward(x, layers, taps=lambda x: 9 * x)][-1]
  np.testing.assert_allclose(y, x * (9 * 4 * 0.03) * (0.5 * 9 * 8 * 0.05))


def test_borders_take_what_lies_outside():
  ones = measures.inside(np.ones((4, 5)))
  assert ones[0].tolist() == [4, 6, 6, 6, 4] and ones[1].tolist() == [6, 9, 9, 9, 6]


@pytest.mark.parametrize("activation", GAIN)
def test_what_is_measured_is_that_of_a_plain_chain(x64, activation):
  """Signals by a loop over the layers, gradients by finite differences of the loss."""
  some = Net(config("float64", layers=3, width=2, activation=activation), examples=2)
  params, batch = some.variables["params"], some.batch
  kernels = [params["first"]["conv"]["kernel"], *params["rest"]["conv"]["kernel"]]
  slope = {"linear": 1.0, "relu": 0.0, "prelu": 0.25}[activation]

  def layer(x, kernel):
    return lax.conv_general_dilated(
      x, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def losses(x):  # of the examples, from the input of the last layer on
    y = layer(x, kernels[-1])
    logits = jnp.where(y < 0, slope * y, y).mean((1, 2)) @ params["classifier"]["kernel"]
    logits += params["classifier"]["bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[:, None], 1)

  x, signals = batch.images, []
  for kernel in kernels:
    before, y = x, layer(x, kernel)
    signals.append(np.square(y).mean((0, 3)))
    x = jnp.where(y < 0, slope * y, y)
  step = 1e-6
  moves = step * jnp.eye(before.size).reshape(-1, *before.shape)
  change = lax.map(lambda move: losses(before + move).sum() - losses(before - move).sum(), moves)
  gradient = (change / (2 * step)).reshape(before.shape)
  found = measures.squares(some)
  np.testing.assert_allclose(found["signal"], signals, rtol=1e-10)
  np.testing.assert_allclose(found["gradient"][-1], np.square(gradient).mean((0, 3)), rtol=1e-6)
  layers = [measures.Layer(k.shape[2], 2, np.square(k).mean(), GAIN[activation]) for k in kernels]
  np.testing.assert_allclose(measures.chain(some), layers, rtol=1e-12)
  rows = [*measures.initialization(some)]
  assert [row["layer"] for row in rows] == [1, 2, 3]
  assert rows[1]["signal"] == pytest.approx(float(signals[1].mean()))
  assert rows[-1]["gradient_ratio"] == rows[-1]["noise_ratio"] == 1


def test_a_single_layer(x64):
  (row,) = measures.initialization(Net(config("float64", layers=1, width=2)))
  assert row["signal_formula"] > 0 and row["noise_ratio"] == 1


def test_a_net_that_is_not_plain_is_refused():
  other = config()
  measures.initialization.check(other)
  other.model.name = "resnet"
  with pytest.raises(UserError, match="model.name='resnet': the formulas are those of a plain net"):
    measures.initialization.check(other)
