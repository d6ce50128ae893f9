"""What a config comes to before the first step: data, network, optimizer and durations."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from resnet_jax import config as config_lib
from resnet_jax import data, errors, models, tasks
from resnet_jax.data import augment
from resnet_jax.data.batch import Batch, Examples, Normalization
from resnet_jax.distributed import mesh, processes
from resnet_jax.errors import UserError
from resnet_jax.native import choice
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
  learner: steps.Learner
  durations: Durations
  learning_rate: Callable
  normalization: Normalization
  train: Any  # Examples on the devices, or photographs to stream
  test: Any
  template: steps.TrainState  # shapes and types, on the devices of this process
  choice: choice.Choice  # whose convolutions the network computes with

  def __repr__(self) -> str:  # a tuple's would print every image
    return f"Setup({config_lib.in_words(self.config)}, {self.durations.steps} steps)"

  @property
  def replicated(self) -> Any:
    """Everything on every device that computes."""
    return self.learner.replicated

  def on_devices(self, images, targets, valid=None) -> Batch:
    """This process's share of a batch on its devices, see `Batch`."""
    images, targets, valid = mesh.place((images, targets, valid), self.learner.batch_sharding)
    return Batch(images, targets, self.normalization, valid)

  def own(self) -> "Setup":
    """The same on the devices of this process alone: each tests a share of the examples."""
    here = mesh.own()
    return self._replace(
      learner=dataclasses.replace(self.learner, batch_sharding=mesh.batched(here)),
      normalization=mesh.local(self.normalization),
      test=mesh.local(self.test) if isinstance(self.test, Examples) else self.test,
    )


def check(config) -> None:
  """Refuses whatever can be refused before the data are read.

  Raises:
    UserError: something in the config cannot work.
  """
  config_lib.check(config)
  tasks.check(config)
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
  chosen = choice.choose(config.model)
  learner = build_learner(
    config, dataset.info, learning_rate, mesh.batched(devices), chosen.kernels
  )
  constants = augment.normalization(dataset.images, config.data.normalize, learner.task.dtype)
  normalization = Normalization(*mesh.place(constants, replicated))

  def on_every_device(split: Any) -> Any:
    if not isinstance(split, data.Split):
      return split  # photographs, which are streamed
    learner.task.check(split.targets)
    images, targets = mesh.place((split.images, split.targets), replicated)
    return Examples(images, targets, normalization)

  return Setup(
    config,
    dataset,
    learner,
    durations,
    learning_rate,
    normalization,
    on_every_device(dataset.train),
    on_every_device(dataset.test),
    template(learner, dataset.info.shape, mesh.replicated(mesh.own())),
    chosen,
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
  if config.model.dtype == "float64":
    jax.config.update("jax_enable_x64", True)


def frozen_parts(config) -> tuple[str, ...]:
  """The parts of the network that do not train; a UserError where it has no such part."""
  frozen = tuple(part.strip() for part in config.finetune.frozen.split(",") if part.strip())
  for part in frozen:
    if part not in (known := models.parts(config.model)):
      raise errors.unknown("config.finetune.frozen", part, known)
  return frozen


def build_learner(
  config,
  info: data.Info,
  learning_rate: Callable,
  batch_sharding=None,
  kernels: str | None = None,
) -> steps.Learner:
  """The network, its task and its optimizer.

  Args:
    config: that of the run.
    info: what its data are.
    learning_rate: of a step.
    batch_sharding: where the examples of a batch lie.
    kernels: that were chosen for the run; None: as this process can.

  Raises:
    UserError: one of them cannot be built from the config.
  """
  frozen = frozen_parts(config)
  task = tasks.build(config, info)
  model = choice.with_kernels(config.model, kernels) if kernels else config.model
  return steps.Learner(
    models.build(model, frozen=frozen, head=task.head()),
    task,
    optim.build(config.optim, learning_rate, models.held(config.model, frozen)),
    config.data.batch_size,
    config.seed,
    batch_sharding,
  )


def template(learner: steps.Learner, shape: tuple[int, int, int], sharding) -> steps.TrainState:
  """The shapes and types of a learner's state, for images of [H, W, C]."""
  shapes = jax.eval_shape(lambda: steps.init(learner, shape))
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
  )


def plan(config, examples: int) -> tuple[Durations, Callable]:
  """The run's durations in steps, and its learning rate at a step.

  Raises:
    UserError: a duration that is none.
  """
  found, batch_size = [], config.data.batch_size
  for key in Durations._fields:
    found.append(config_lib.steps(config.train[key], f"train.{key}", batch_size, examples))
  for key, value in zip(Durations._fields, found, strict=True):
    if value < 1:
      raise UserError(f"config.train.{key}={config.train[key]!r} must be one step or more")
  durations = Durations(*found)
  return durations, optim.schedule(config.optim, durations.steps, batch_size, examples)
