"""The variance of a signal and of its gradient, by layer, and what the formulas say ([M] 2.2, [T]).

Of a plain net y_l = W_l x_l, x_{l+1} = f(y_l), l = 1 ... L, with weights of zero mean:

    Var[y_l]     = n_1 Var[w_1] Var[x_1]  prod_{1 < d <= l} (g n_d Var[w_d])
    Var[dE/dx_l] = Var[dE/dx_L]  prod_{l <= d < L} (g n'_d Var[w_d])

where n counts the inputs of an output, n' the outputs of an input, and g is 1 of linear layers, 1/2
of ReLU, (1 + a^2) / 2 of PReLU. At the borders of a map zeros take the place of inputs, so that n
is 9, 6 or 4 times the channels: the formulas are applied position by position. In the mean over the
weights that of the signal is exact. That of the gradient takes the gradient for independent of
them, and of one position for the next, as noise is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from resnet_jax.errors import UserError
from resnet_jax.models.layers import Conv, written
from resnet_jax.study.net import Net
from resnet_jax.study.words import requires, study

Squares = np.ndarray  # [H, W]: the means over examples and channels


class Layer(NamedTuple):
  """A layer as the formulas see it."""

  inputs: int  # channels
  outputs: int
  variance: float  # of a weight
  gain: float  # g


def require_plain(config: Any) -> None:
  """Raises a UserError for another network than a plain one."""
  if config.model.name != "plain":
    raise UserError(
      f"config.model.name={config.model.name!r}: the formulas are those of a plain net without "
      "normalization; take model.name='plain'"
    )


@study("initialization")
@requires(require_plain)
def initialization(net: Net) -> Iterator[dict[str, float]]:
  """A row for each layer l; variances are mean squares over examples, positions and channels.

  - `signal`, `gradient`: Var[y_l], and Var[dE/dx_l] for the loss E of each example
  - `noise`: Var[dE/dx_l] for a gradient that begins as noise of variance 1 behind the last layer
  - `signal_formula`, `gradient_formula`, `noise_formula`: by the formulas, from Var[x_1] and from
    Var[dE/dx_L]
  - `signal_ratio`, `gradient_ratio`, `noise_ratio`: measured over formula
  - `signal_interior`: the signal's formula as if the map had no borders
  """
  layers, measured = chain(net), squares(net)
  images = np.square(np.asarray(net.batch.images, np.float64)).mean((0, 3))
  formula = {"signal": [*forward(images, layers)]}
  for name in ("gradient", "noise"):
    formula[name] = [*backward(measured[name][-1], layers)][::-1]
  interior = [*forward(images, layers, taps=lambda x: 9 * x)]
  for index in range(len(layers)):
    row: dict[str, float] = {"layer": index + 1, "signal_interior": float(interior[index].mean())}
    for name in formula:
      ours, said = float(measured[name][index].mean()), float(formula[name][index].mean())
      row |= {name: ours, f"{name}_formula": said, f"{name}_ratio": ours / said}
    yield row


def inside(x: Squares) -> Squares:
  """The sum over the 3x3 positions around each that lie inside the map."""
  rows, columns = x.shape
  around = np.pad(x, 1)
  shifted = [around[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
  return np.sum(shifted, 0)


def forward(
  x: Squares, layers: Sequence[Layer], taps: Callable[[Squares], Squares] = inside
) -> Iterator[Squares]:
  """E[y_l^2] for l = 1 ... L, from E[x_1^2]; `taps` adds up what a 3x3 kernel reaches."""
  for layer in layers:
    y = layer.inputs * layer.variance * taps(x)
    yield y
    x = layer.gain * y


def backward(dx: Squares, layers: Sequence[Layer]) -> Iterator[Squares]:
  """E[(dE/dx_l)^2] for l = L ... 1, from that of x_L."""
  yield dx
  for layer in layers[-2::-1]:
    dx = layer.outputs * layer.variance * inside(layer.gain * dx)
    yield dx


def by_layer(tree: Mapping[str, Any]) -> list[Any]:
  """The layers' shares of a tree of a plain net: of parameters, or of what is sown."""
  rest = tree.get("rest", {})
  count = len(next(iter(jax.tree.leaves(rest)), ()))
  return [tree["first"], *(jax.tree.map(lambda a, at=at: a[at], rest) for at in range(count))]


def chain(net: Net) -> list[Layer]:
  """The layers of a plain net, with the variances that their weights have."""
  layers = []
  for params in by_layer(jax.device_get(net.variables["params"])):
    kernel = np.asarray(params["conv"]["kernel"], np.float64)
    inputs, outputs = kernel.shape[2:]
    slope = 1.0 if net.config.model.plain.activation == "linear" else 0.0  # of f where y < 0
    if "prelu" in params:
      slope = float(params["prelu"]["negative_slope"])
    layers.append(Layer(inputs, outputs, float(np.square(kernel).mean()), (1 + slope**2) / 2))
  return layers


def watched(
  following: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
  """Has convolutions sow the squares of y, and perturbs x."""
  conv = context.module
  if not isinstance(conv, Conv) or context.method_name != "__call__":
    return following(*args, **kwargs)
  y = written(following(conv.perturb("x", written(args[0])), *args[1:], **kwargs))
  conv.sow("intermediates", "y", mean_square(y))
  return y


def mean_square(x: jax.Array) -> jax.Array:
  """Over examples and channels: [..., N, H, W, C] -> [..., H, W], float32 at least."""
  return jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32))).mean((-4, -1))


def squares(net: Net) -> dict[str, list[Squares]]:
  """By layer: the `signal` E[y_l^2], and E[(dE/dx_l)^2] as `gradient` and as `noise`."""
  sown, *gradients = jax.device_get(observer(net)(net.variables))
  found = {"signal": [np.asarray(layer["conv"]["y"][0], np.float64) for layer in by_layer(sown)]}
  for name, tree in zip(("gradient", "noise"), gradients, strict=True):
    found[name] = [np.asarray(layer["conv"]["x"], np.float64) for layer in by_layer(tree)]
  return found


def observer(net: Net) -> Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]:
  """A function of the variables: the squares that are sown, and those of the gradients of

  - the sum of the examples' losses
  - what the last layer puts out times noise of variance 1: a gradient that begins independent of
    the weights, and of one position for the next
  """
  keep = ["perturbations", "intermediates"]
  backbone, images = net.learner.model.clone(head=None), net.batch.images

  def of_loss(variables: Mapping[str, Any]) -> tuple[jax.Array, Any]:
    loss, kept = net.loss(variables, keep)
    return net.examples * loss, kept

  def of_noise(variables: Mapping[str, Any]) -> tuple[jax.Array, Any]:
    maps, kept = backbone.apply(variables, images, train=True, mutable=keep)
    x = maps["stage1"].array
    return jnp.vdot(jax.random.normal(net.key, x.shape, x.dtype), x), kept

  @jax.jit
  def observe(variables: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    with nn.intercept_methods(watched):
      shapes = jax.eval_shape(lambda: of_noise(variables)[1]["perturbations"])
      zeros = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
      given = {**variables, "perturbations": zeros}
      gradients, kept = jax.grad(of_loss, has_aux=True)(given)
      noise, _ = jax.grad(of_noise, has_aux=True)(given)
    by_loss, by_noise = (
      jax.tree.map(mean_square, one["perturbations"]) for one in (gradients, noise)
    )
    return kept["intermediates"], by_loss, by_noise

  return observe
