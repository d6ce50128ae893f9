"""A network's layers, parameters and multiply-adds, from its trace alone: no data, no arrays."""

import itertools
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from resnet_jax import data, models
from resnet_jax.config import check
from resnet_jax.native import choice
from resnet_jax.training import setup

# The primitives that apply a kernel: the library's, and those of `models.layers` on a CPU.
PRODUCTS = ("conv_general_dilated", "dot_general", "convolution", "product")
LATER_UNIT = re.compile(r"unit(?!1/)\d+")  # a stage's units after its first


class Layer(NamedTuple):
  """A layer with weights. `number` counts the convolutions and the classifier along the net's
  main path, from 1; projections and gates stand on the shortcut and have none.
  """

  number: int | None
  name: str
  output: tuple[int, ...]  # H, W, C
  params: int
  multiply_adds: int  # for one image


def describe(config) -> dict[str, Any]:
  """`layers`, `params` (of all, BN included), `multiply_adds` (for one image), `depth`, `input`.

  Raises:
    UserError: the config names no network or no data set.
  """
  with jax.enable_x64(config.model.dtype == "float64"):
    return network(config.model, *_images(config))


def parameters(config) -> str:
  """Every array of parameters as a table, under the names that checkpoints and masks know.

  Raises:
    UserError: see `describe`.
  """
  from clu import parameter_overview  # seconds to import, which the other ways need not pay

  with jax.enable_x64(config.model.dtype == "float64"):
    _, _, variables = _shapes(config.model, *_images(config))
    return parameter_overview.get_parameter_overview(
      variables["params"], include_stats=False, max_lines=None
    )


def _images(config) -> tuple[tuple[int, int, int], int]:
  """The shape of an image and the number of classes; of ImageNet nets as published."""
  if config.model.family == "imagenet":
    check(config)
    return (224, 224, 3), 1000
  setup.check(config)
  info = data.info(config.data)
  return info.shape, len(info.classes)


def _shapes(config, shape: tuple[int, ...], classes: int) -> tuple[Any, Any, Any]:
  """The network of `config.model`, and the shapes of its input and of its variables."""
  config = choice.with_kernels(config, choice.LIBRARY)  # whose primitives are told apart below
  model = models.build(config, classes)
  image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  return model, image, jax.eval_shape(model.init, jax.random.key(0), image)


def network(config, shape: tuple[int, ...], classes: int) -> dict[str, Any]:
  """`describe` of `config.model` for images of [H, W, C]."""
  model, image, variables = _shapes(config, shape, classes)
  traced = jax.make_jaxpr(model.apply)(variables, image)
  number = itertools.count(1)
  layers = [
    Layer(None if name.endswith(("projection", "gate")) else next(number), name, *sizes)
    for name, *sizes in _expand(traced.jaxpr)
  ]
  return {
    "depth": sum(layer.number is not None for layer in layers),
    "input": list(shape),
    "params": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])),
    "multiply_adds": sum(layer.multiply_adds for layer in layers),
    "layers": [layer._asdict() for layer in layers],
  }


def _expand(jaxpr):
  """(name, output, weights, multiply-adds) of every product in a jaxpr, scans unrolled."""
  for equation in jaxpr.eqns:
    scope = _path(str(equation.source_info.name_stack))
    if equation.primitive.name in PRODUCTS:
      kernel, output = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
      yield scope, output[1:], math.prod(kernel), math.prod(output[1:-1]) * math.prod(kernel)
      continue
    inner = [*equation.params.values(), *equation.params.get("branches", ())]
    # Of branches the one that has all layers.
    found = max((list(_expand(v)) for v in inner if hasattr(v, "eqns")), key=len, default=[])
    for index in range(equation.params.get("length", 1)):
      for name, *sizes in found:
        name = "/".join(filter(None, (scope, name)))
        yield name.replace("rest", f"unit{index + 2}"), *sizes


def _path(name_stack: str) -> str:
  """Modules only, without the methods that Flax writes between them."""
  networks = {network.__name__ for network in models.MODELS.values()}
  names = [name for name in name_stack.split("/") if "." not in name and name not in networks]
  return "/".join(names).replace("first", "unit1")


def to_text(config) -> str:
  """`describe` as a table; a row for units that are alike, with the layer numbers they span."""
  from rich.console import Console
  from rich.table import Column, Table

  found = describe(config)
  title = f"{config.model.unit}, depth {found['depth']}, input {found['input']}"
  numbers = (Column(heading, justify="right") for heading in ("weights", "multiply-adds"))
  table = Table("layer", "name", "output", *numbers, title=title)
  for layers in _alike(found["layers"]):
    first, last, name = layers[0], layers[-1], layers[0]["name"]
    if len(layers) > 1:
      name = f"{LATER_UNIT.sub('units', name)} (x{len(layers)})"
    span = [str(layer["number"] or "-") for layer in (first, last)]
    table.add_row(
      " .. ".join(dict.fromkeys(span)),
      name,
      " x ".join(map(str, first["output"])),
      f"{sum(layer['params'] for layer in layers):,}",
      f"{sum(layer['multiply_adds'] for layer in layers):,}",
    )
  console = Console(width=100)
  with console.capture() as captured:
    console.print(table)
  optim = config.optim
  return captured.get() + (
    f"{found['params']:,} parameters (BN and biases included), "
    f"{found['multiply_adds']:,} multiply-adds an image\n"
    f"{config.data.name}: {config.train.steps}, batch {config.data.batch_size}, rate "
    f"{optim.learning_rate} ({optim.schedule}), momentum {optim.momentum}, weight decay "
    f"{optim.weight_decay}"
  )


def _alike(layers: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
  """Layers grouped: those of one name and shape in a stage's second and later units together."""
  groups: dict[Any, list[dict[str, Any]]] = {}
  for layer in layers:
    name = LATER_UNIT.sub("units", layer["name"])
    groups.setdefault((name, layer["output"]), []).append(layer)
  return list(groups.values())


if __name__ == "__main__":
  from resnet_jax.__main__ import refer

  refer("--mode=describe")
