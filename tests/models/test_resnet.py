"""What a stage keeps for the backward pass, and the settings that say so."""

import jax
import jax.numpy as jnp
import pytest
from cross_entropy import cross_entropy

from resnet_jax import models
from resnet_jax.config import default_config
from resnet_jax.errors import UserError
from tests import hurry


def kept(remat, kernels):
  """Megabytes that the compiler plans for one gradient of a 29-unit net, arguments apart."""
  config = default_config().model
  config.update(
    {"depth": 83, "unit": "bottleneck", "projection": "B", "remat": remat, "kernels": kernels}
  )
  config.after_add = "full_preact"
  model = models.build(config, 10)
  images = jax.ShapeDtypeStruct((16, 16, 16, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), images)

  def loss(params, stats, images):
    return cross_entropy(model, params, stats, images, jnp.zeros(16, int))

  gradient = jax.jit(jax.grad(loss, has_aux=True))
  # Memory is planned before XLA's backend begins, whose work is not needed then.
  lowered = gradient.lower(variables["params"], variables["batch_stats"], images)
  compiled = lowered.compile(hurry.OPTIONS)
  return compiled.memory_analysis().temp_size_in_bytes / 1e6


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["auto", "library"])
def test_rematerialization_saves_memory(kernels):
  """Kernels of our own never keep what BN and ReLU make; without them `auto` is the library."""
  everything = kept("none", "library")
  norm, unit = kept("norm", kernels), kept("unit", kernels)
  assert norm < everything / 2
  assert unit < everything / 3


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    ("remat", "all", "model.remat='all' is unknown"),
    ("unroll", 0, "model.unroll=0 must be 1 or more"),
  ],
)
def test_refused(key, value, message):
  config = default_config().model
  config[key] = value
  with pytest.raises(UserError, match=message):
    models.build(config, 10)
