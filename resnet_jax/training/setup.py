"""What a config comes to before the first step: data, network, optimizer and durations."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from resnet_jax import config as config_lib
from resnet_jax import data, errors, models
from resnet_jax.data import augment
from resnet_jax.distributed import mesh, processes
from resnet_jax.errors import UserError
from resnet_jax.training import optim, steps


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
  normalization: tuple[Any, Any]
  train: Any  # steps.Examples on the devices, or photographs to stream
  test: Any
  template: steps.TrainState  # shapes and types, on the devices of this process

  def __repr__(self) -> str:  # a tuple's would print every image
    return f"Setup({config_lib.in_words(self.config)}, {self.durations.steps} steps)"

  @property
  def replicated(self) -> Any:
    """Everything on every device that computes."""
    return self.task.replicated

  def on_devices(self, images, labels) -> steps.Examples:
    """This process's share of a batch, uint8 [N, H, W, C] and int32 [N], on its devices."""
    images, labels = mesh.place((images, labels), self.task.batch_sharding)
    return steps.Examples(images, labels, *self.normalization)

  def own(self) -> "Setup":
    """The same on the devices of this process alone: each tests a share of the examples."""
    here = mesh.own()
    return self._replace(
      task=dataclasses.replace(self.task, batch_sharding=mesh.batched(here)),
      normalization=mesh.local(self.normalization),
      test=mesh.local(self.test) if isinstance(self.test, steps.Examples) else self.test,
    )


def check(config) -> None:
  """Refuses whatever can be refused before the data are read.

  Raises:
    UserError: something in the config cannot work.
  """
  config_lib.check(config)
  models.check(config.model)
  augment.check(config.data.normalize)
  info = data.info(config.data)
  augment.check_channels(config.data, info.shape[-1])
  _, learning_rate = plan(config, config.data.batch_size)  # of however many examples
  optim.build(config.optim, learning_rate, models.held(config.model, frozen_parts(config)))


def setup(config) -> Setup:
  """Checks the config, reads the data and lays it out on the devices.

  Raises:
    UserError: something in the config cannot work.
  """
  check(config)
  use_type(config)
  devices = mesh.build()
  dataset = processes.in_turn(lambda: data.load(config.data))
  processes.refuse_other({"the fingerprint of the data": dataset.fingerprint})
  examples, batch_size = dataset.train_examples, config.data.batch_size
  if dataset.images is not None and examples * batch_size >= 2**31:  # positions are int32 there
    raise UserError(
      f"config.data.batch_size={batch_size} times {examples} examples must be below 2**31"
    )
  durations, learning_rate = plan(config, examples)
  replicated = mesh.replicated(devices)
  task = build_task(config, dataset.info, learning_rate, mesh.batched(devices))
  normalization = mesh.place(
    augment.normalization(dataset.images, config.data.normalize, task.dtype), replicated
  )
  train, test = (
    steps.Examples(*mesh.place(tuple(split), replicated), *normalization)
    if isinstance(split, data.Split)
    else split
    for split in (dataset.train, dataset.test)
  )
  return Setup(
    config,
    dataset,
    task,
    durations,
    learning_rate,
    normalization,
    train,
    test,
    template(task, dataset.info.shape, mesh.replicated(mesh.own())),
  )


def refuse_idle(run: Setup) -> None:
  """Refuses what does nothing with a data set of this size; for runs that are new.

  Raises:
    UserError: a batch is larger than the training set, or the rate would drop after the run.
  """
  config, total = run.config, run.durations.steps
  examples, batch_size = run.dataset.train_examples, config.data.batch_size
  if batch_size > examples:
    raise UserError(
      f"config.data.batch_size={batch_size} is more than the {examples} examples of "
      f"config.data.train_split={config.data.train_split!r}; take at most {examples}"
    )
  drop_at = config.optim.drop_at
  if config.optim.schedule != "step" or drop_at in config_lib.DROPS.values():
    return
  last = max(optim.drops(config.optim, total, batch_size, examples))
  if last > total:
    raise UserError(
      f"config.optim.drop_at={drop_at!r} comes after the end of the run: step {last} of {total}; "
      "drop the rate before it, as at '50%, 75%', or take optim.schedule=constant"
    )


def use_type(config) -> None:
  """Turns 64-bit JAX on where the model asks for it."""
  if config.model.dtype == "float64" and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
    jax.config.update("jax_enable_x64", True)


def frozen_parts(config) -> tuple[str, ...]:
  """The parts of the network that do not train; a UserError where it has no such part."""
  frozen = tuple(part.strip() for part in config.finetune.frozen.split(",") if part.strip())
  for part in frozen:
    if part not in (known := models.parts(config.model)):
      raise errors.unknown("config.finetune.frozen", part, known)
  return frozen


def build_task(config, info: data.Info, learning_rate: Callable, batch_sharding=None) -> steps.Task:
  """What stays the same from step to step.

  Raises:
    UserError: no network or no optimizer comes of the config.
  """
  frozen = frozen_parts(config)
  return steps.Task(
    models.build(config.model, len(info.classes), frozen),
    optim.build(config.optim, learning_rate, models.held(config.model, frozen)),
    config.data.batch_size,
    info.pad,
    info.flip,
    config.seed,
    batch_sharding,
    config.data.color_jitter,
    config.data.lighting,
  )


def template(task: steps.Task, shape: tuple[int, int, int], sharding) -> steps.TrainState:
  """The shapes and types of the state of a task, for images of [H, W, C]."""
  shapes = jax.eval_shape(lambda: steps.init(task, shape))
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
  )


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
