"""The plain net without normalization: what it computes, how it trains, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import resnet_jax
from configs import plain, resnet
from resnet_jax import config as config_lib
from resnet_jax import describe, models, paper
from resnet_jax.errors import UserError
from resnet_jax.training import setup
from tests.hurry import evaluate


def config(**settings):
  made = plain.get_config("digits")
  made.model.plain.update({"layers": 4, "width": 8} | settings)
  return made


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize(("activation", "slope"), [("linear", 1), ("relu", 0), ("prelu", 0.25)])
def test_it_is_a_chain_of_convolutions(layers, activation, slope):
  model = models.build(config(layers=layers, activation=activation).model, 10)
  images = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
  params = evaluate(model.init, jax.random.key(1), images)["params"]
  kernels = [params["first"]["conv"]["kernel"]]
  kernels += list(params["rest"]["conv"]["kernel"]) if layers > 1 else []
  assert [kernel.shape for kernel in kernels] == [(3, 3, 3, 8), *[(3, 3, 8, 8)] * (layers - 1)]
  x = images
  for kernel in kernels:
    y = lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = jnp.where(y < 0, slope * y, y)
  logits = x.mean((1, 2)) @ params["classifier"]["kernel"]  # its bias begins at zero
  found = evaluate(model.apply, {"params": params}, images)
  np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
  backbone = evaluate(model.clone(head=None).apply, {"params": params}, images)
  np.testing.assert_allclose(backbone["stage1"].array, x, rtol=1e-4, atol=1e-5)


def test_the_layers_begin_with_weights_of_their_own():
  model = models.build(config().model, 10)
  params = evaluate(model.init, jax.random.key(1), jnp.zeros((1, 8, 8, 1)))["params"]
  first, second, third = params["rest"]["conv"]["kernel"]
  assert not np.array_equal(first, second) and not np.array_equal(second, third)


def test_it_is_described_layer_by_layer():
  found = describe.describe(config(layers=22, width=16))
  assert found["depth"] == 23  # and the classifier
  assert found["params"] == 9 * 16 + 21 * 9 * 16 * 16 + 16 * 10 + 10
  assert [layer["name"] for layer in found["layers"][:2]] == ["unit1/conv", "unit2/conv"]


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"model.plain.layers": 0}, "model.plain.layers=0 must be 1 or more"),
    ({"model.plain.activation": "rely"}, "model.plain.activation='rely' is unknown.*relu"),
    ({"model.depth": 20}, "config.model.depth=20 does nothing with config.model.name='plain'"),
    ({"model.gate_bias": -3.0}, "config.model.gate_bias=-3.0 does nothing"),
    ({"model.norm.frozen": True}, "it belongs to model.name=resnet"),
    ({"finetune.frozen": "stem"}, "config.finetune.frozen"),
  ],
)
def test_what_it_does_not_have_is_refused(settings, message):
  made = config()
  made.update_from_flattened_dict(settings)
  with pytest.raises(UserError, match=message):
    config_lib.refuse_unread(made)
    setup.check(made)


def test_its_settings_are_refused_of_a_resnet():
  made = resnet.get_config("depth=8,digits")
  made.model.plain.layers = 5
  with pytest.raises(UserError, match="model.plain.layers=5 does nothing.*model.name=plain"):
    config_lib.refuse_unread(made)


def test_no_paper_has_published_it():
  assert not paper.find(config().model.to_dict(), "cifar10")
  assert paper.find(resnet.get_config("depth=110").model.to_dict(), "cifar10")


@pytest.mark.slow
def test_it_trains_and_goes_on(tmp_path):
  """Stopped after 8 steps and continued to 16 it has the bits of 16 steps at once."""
  made = config()
  made.optim.schedule = "constant"
  made.train.update(log_every=8, eval_every=8, checkpoint_every=8, steps=16)
  whole = resnet_jax.train_run(made, tmp_path / "whole")
  half = made.copy_and_resolve_references()
  half.train.steps = 8
  resnet_jax.train_run(half, tmp_path / "halves")
  assert resnet_jax.train_run(made, tmp_path / "halves")["test_error"] == whole["test_error"]
  runs = [resnet_jax.load_run(tmp_path / name) for name in ("whole", "halves")]
  assert "plain, digits" in repr(runs[0])
  for one, other in zip(*(jax.tree.leaves(run.variables) for run in runs), strict=True):
    np.testing.assert_array_equal(one, other)
