"""How weights begin: [M] MSRA, [X] Xavier, LeCun's, orthogonal and PyTorch's default, by name."""

from typing import Any

import jax
from flax.typing import Initializer
from jax.nn.initializers import orthogonal, variance_scaling, zeros

# Var[w] = 2 / n_in keeps the variance of a signal through ReLU layers ([M] 2.2); by fan-out it
# keeps the gradient's, as the Torch release does. Xavier's is for linear layers ([X] 4.2), and so
# are LeCun's, by fan-in, and a matrix [n_in, outputs] with orthonormal columns: its weights have
# the variance 1 / n_in, or 1 / outputs if there are more of these.
# PyTorch's default is U(-b, b) with b = 1 / sqrt(n_in), whose variance is 1 / (3 n_in).
KERNEL: dict[str, Initializer] = {
  "msra": variance_scaling(2.0, "fan_in", "normal"),
  "msra_fan_out": variance_scaling(2.0, "fan_out", "normal"),
  "xavier": variance_scaling(1.0, "fan_avg", "uniform"),
  "lecun": variance_scaling(1.0, "fan_in", "normal"),
  "orthogonal": orthogonal(),
  "pytorch": variance_scaling(1 / 3, "fan_in", "uniform"),
}


def classifier_kernel(init: str) -> Initializer:
  """The classifier's weights begin as the convolutions' do, but by fan-in: its fan-out is the
  number of classes, which says nothing of a signal. The Torch release leaves them at its default.
  """
  return KERNEL["pytorch" if init == "msra_fan_out" else init]


def classifier_bias(init: str, fan_in: int) -> Initializer:
  """The classifier's bias begins at zero; PyTorch draws it as it draws the weights."""
  if init != "pytorch":
    return zeros

  def like_the_weights(key: jax.Array, shape: Any, dtype: Any = None) -> Any:
    return KERNEL["pytorch"](key, (fan_in, *shape), dtype)[0]

  return like_the_weights
