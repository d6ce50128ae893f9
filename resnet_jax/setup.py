"""What a config comes to before the first step: data, network, optimizer and durations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from resnet_jax import config as config_lib
from resnet_jax import data, mesh, models, optim, steps
from resnet_jax.data import augment
from resnet_jax.errors import UserError


class Durations(NamedTuple):
  """The run's durations in steps."""

  steps: int
  log_every: int
  eval_every: int
  checkpoint_every: int


class Setup(NamedTuple):
  """What a config comes to: everything but the state."""

  config: Any
  dataset: data.Dataset
  task: steps.Task
  durations: Durations
  learning_rate: Callable
  train: steps.Examples
  test: steps.Examples
  template: steps.TrainState  # shapes, types and shardings
  replicated: Any


def check(config) -> None:
  """Refuses whatever can be refused before the data are read.

  Raises:
    UserError: something in the config cannot work.
  """
  config_lib.check(config)
  models.check(config.model)
  augment.check(config.data.normalize)
  data.info(config.data)
  _, learning_rate = plan(config, config.data.batch_size)  # of however many examples
  optim.build(config.optim, learning_rate)


def setup(config) -> Setup:
  """Checks the config, reads the data and lays it out on the devices.

  Raises:
    UserError: something in the config cannot work.
  """
  check(config)
  if config.model.dtype == "float64" and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
    jax.config.update("jax_enable_x64", True)
  devices = mesh.build()
  dataset = data.load(config.data)
  examples, batch_size = len(dataset.train.labels), config.data.batch_size
  if examples * batch_size >= 2**31:  # positions in the order of examples are int32
    raise UserError(
      f"config.data.batch_size={batch_size} times {examples} examples must be below 2**31"
    )
  durations, learning_rate = plan(config, examples)
  replicated = mesh.replicated(devices)
  mean, scale = augment.normalization(dataset.train.images, config.data.normalize)
  train, test = (
    jax.device_put(steps.Examples(*split, mean, scale), replicated)  # type: ignore[arg-type]
    for split in (dataset.train, dataset.test)
  )
  task = steps.Task(
    models.build(config.model, len(dataset.info.classes)),
    optim.build(config.optim, learning_rate),
    config.data.batch_size,
    dataset.info.pad,
    dataset.info.flip,
    config.seed,
    mesh.batched(devices),
  )
  shapes = jax.eval_shape(lambda: steps.init(task, dataset.info.shape))
  template = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated), shapes
  )
  return Setup(config, dataset, task, durations, learning_rate, train, test, template, replicated)


def plan(config, examples: int) -> tuple[Durations, Callable]:
  """The run's durations in steps, and its learning rate at a step.

  Raises:
    UserError: a duration that is none.
  """
  batch_size, values = config.data.batch_size, config.train
  total = config_lib.steps(values.steps, "train.steps", batch_size, examples)
  every = [
    config_lib.steps(values[key], f"train.{key}", batch_size, examples)
    for key in Durations._fields[1:]
  ]
  for key, value in zip(Durations._fields, (total, *every), strict=True):
    if value < 1:
      raise UserError(f"config.train.{key}={values[key]!r} must be one step or more")
  return Durations(total, *every), optim.schedule(config.optim, total, batch_size, examples)
