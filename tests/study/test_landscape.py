"""The loss along random directions, and the Hessian of a tiny network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

import resnet_jax
from resnet_jax import models
from resnet_jax.config import load_file
from resnet_jax.study.measures import landscape
from resnet_jax.study.net import Net
from resnet_jax.study.spectra import lanczos


def net(spec, examples=16, dtype="float32"):
  config = load_file(f"configs/resnet.py:{spec},digits")
  config.model.dtype = dtype
  return Net(config, examples=examples)


def filters(kernel):
  """The norm of each filter of one convolution, or of each class."""
  return np.linalg.norm(np.asarray(kernel).reshape(-1, kernel.shape[-1]), axis=0)


def test_each_filter_is_as_long_as_the_weights_and_bn_stays():
  given = net("depth=20")
  params = jax.device_get(given.variables["params"])
  draw = jax.jit(lambda key: landscape.direction(key, params))
  along, other = (jax.device_get(draw(jax.random.key(seed))) for seed in (0, 1))
  pairs = [(along[name], params[name]) for name in ("stem", "classifier")]
  pairs += zip(given.units(along), given.units(params), strict=True)
  kernels = 0
  for drawn, weights in pairs:
    of_weights = dict(jax.tree.leaves_with_path(weights))
    for path, leaf in jax.tree.leaves_with_path(drawn):
      if path[-1].key == "kernel":
        np.testing.assert_allclose(filters(leaf), filters(of_weights[path]), rtol=1e-5)
        assert abs(np.corrcoef(leaf.ravel(), of_weights[path].ravel())[0, 1]) < 0.3
        kernels += 1
      else:
        assert not leaf.any()
  assert kernels == 20
  assert (other["stem"]["conv"]["kernel"] != along["stem"]["conv"]["kernel"]).all()


def test_curves_pass_through_the_trained_weights():
  given = net("depth=8")
  rows = list(landscape.landscape(given, directions=2, points=3, iterations=1))
  curves = {(row["direction"], row["alpha"]): row["loss"] for row in rows[:-1]}
  assert len(curves) == 6 and rows[-1]["ended"] == "stagnated"
  params, batch = given.variables["params"], given.batch

  @jax.jit
  def moved_logits(key, alpha):
    along = landscape.direction(key, params)
    moved = jax.tree.map(lambda w, d: w + alpha * d, params, along)
    return given.learner.model.apply(given.variables | {"params": moved}, batch.images)

  for (number, alpha), loss in curves.items():
    logits = moved_logits(jax.random.fold_in(given.key, number), alpha)
    right = np.take_along_axis(np.asarray(nn.log_softmax(logits)), batch.targets[:, None], 1)
    np.testing.assert_allclose(loss, -right.mean(), rtol=1e-4)
  assert curves[1, 0] == curves[2, 0] and len(set(curves.values())) == 5


def test_the_length_of_a_filter_means_nothing():
  """A net that computes the same with longer filters before its BN has the same landscape."""
  given = net("depth=8")

  def curve():
    rows = landscape.landscape(given, directions=1, points=5, iterations=1)
    return [row["loss"] for row in rows if "loss" in row]

  before = curve()
  stem = given.variables["params"]["stem"]["conv"]
  stem["kernel"] = stem["kernel"] * 4
  statistics = given.variables["batch_stats"]["stem"]["bn"]
  statistics["var"] = statistics["var"] * 16
  np.testing.assert_allclose(curve(), before, rtol=1e-3)
  assert np.ptp(before) > 0.1


def tiny(config, head, frozen):
  return Tiny(head=head)


class Tiny(nn.Module):
  head: nn.Module

  @nn.compact
  def __call__(self, x, train=False):
    for width in (2, 2):
      x = nn.Conv(width, (3, 3), strides=2, use_bias=False, param_dtype=x.dtype)(x)
      x = nn.relu(nn.BatchNorm(use_running_average=not train, param_dtype=x.dtype)(x))
    return self.head({"stage1": models.Map(x, 4)}, train)


def test_eigenvalues_are_those_of_the_full_hessian(x64):
  resnet_jax.model("tiny")(tiny)
  given = net("depth=8", 8, "float64")
  given.config.model.name = "tiny"
  loss = landscape.objective(given)
  flat, tree = ravel_pytree(given.variables["params"])
  expected = np.linalg.eigvalsh(jax.jit(jax.hessian(lambda v: loss(tree(v))))(flat))
  params, key = given.variables["params"], jax.random.key(0)
  product = jax.jit(lambda v: landscape.product(loss, params, v))
  found = lanczos(product, params, key, len(flat), tolerance=1e-12)
  np.testing.assert_allclose(found.values[0], expected[-1], rtol=1e-10)
  np.testing.assert_allclose(found.values[-1], expected[0], rtol=1e-10)
  assert expected[0] < 0 < expected[-1] and flat.size == 92
  rows = [row for row in landscape.landscape(given, 1, 3) if "order" in row]
  np.testing.assert_allclose(rows[0]["eigenvalue"], expected[-1], atol=rows[0]["bound"] + 1e-12)
  assert rows[0]["bound"] <= 1e-3 * expected[-1] and rows[0]["ended"] == "converged"


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["auto", "library"])
def test_products_equal_finite_differences(x64, kernels):
  config = load_file("configs/resnet.py:depth=8,digits")
  config.model.dtype, config.model.kernels = "float64", kernels
  given = Net(config, examples=4)
  loss, params = landscape.objective(given), given.variables["params"]
  v, step = jax.jit(landscape.direction)(jax.random.key(0), params), 1e-7
  slope = jax.jit(jax.grad(loss))
  ahead, behind = (slope(optax.tree.add_scale(params, s, v)) for s in (step, -step))
  expected = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
  product = jax.jit(lambda v: landscape.product(loss, params, v))(v)
  for got, want in zip(*map(jax.tree.leaves, (product, expected)), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6 * float(jnp.abs(want).max()))
