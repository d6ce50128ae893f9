"""Learning rates and optimizers by name; SGD is Caffe's ([R] 4.2, [I] appendix).

A schedule of one's own is a function of `config.optim`, the run's steps, the batch size and the
number of training examples; it returns the learning rate at a step. An optimizer is a function of
`config.optim` and the learning rate at a step:

    @resnet_jax.optimizer("adamw", b1=0.9, b2=0.999)
    def adamw(config, learning_rate):
      own = config.adamw
      decay = {"weight_decay": config.weight_decay, "mask": optim.kernels}
      return optax.adamw(learning_rate, own.b1, own.b2, **decay)
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from resnet_jax import config as config_lib
from resnet_jax import errors
from resnet_jax.config.settings import SETTINGS
from resnet_jax.registry import Registry

OPTIMIZERS = Registry("optimizer", "optim.name")
SCHEDULES = Registry("schedule", "optim.schedule")
WARMUPS = SETTINGS["optim.warmup_schedule"].choices


def schedule(config, total: int, batch_size: int, examples: int) -> Callable:
  """The learning rate at a step: the schedule's, after the warm-up.

  Args:
    config: `config.optim`.
    total: steps of the run, which "50%" is a share of.
    batch_size: of `config.data`, for durations in examples and epochs.
    examples: in the training set.

  Raises:
    UserError: an unknown schedule, or a duration that is none.
  """
  main = SCHEDULES.find(config.schedule)(config, total, batch_size, examples)
  if config.warmup_schedule not in WARMUPS:
    raise errors.unknown("optim.warmup_schedule", config.warmup_schedule, WARMUPS)
  warmup = config_lib.steps(config.warmup, "optim.warmup", batch_size, examples, total)
  rate, first = config.learning_rate, config.warmup_learning_rate
  rise = (rate - first) / max(warmup, 1) if config.warmup_schedule == "linear" else 0.0
  return lambda step: jnp.where(step < warmup, first + rise * step, main(step))


@SCHEDULES("step")
def step(config, total: int, batch_size: int, examples: int) -> Callable:
  """Multiplies the rate by `drop_factor` at each of `drop_at` ([R] 3.4, 4.2)."""
  rate, ats = config.learning_rate, drops(config, total, batch_size, examples)

  def main(step):
    return rate * config.drop_factor ** sum(jnp.asarray(step >= at, jnp.int32) for at in ats)

  return main


@SCHEDULES("cosine")
def cosine(config, total: int, *_) -> Callable:
  """Half a period of a cosine, down to zero."""
  return optax.cosine_decay_schedule(config.learning_rate, total)


@SCHEDULES("constant")
def constant(config, *_) -> Callable:
  """Always the same rate."""
  return lambda step: jnp.full_like(step, config.learning_rate, dtype=float)


def drops(config, total: int, batch_size: int, examples: int) -> list[int]:
  """The steps at which `schedule=step` multiplies the rate; the arguments are `schedule`'s."""
  return sorted(
    config_lib.steps(at, "optim.drop_at", batch_size, examples, total)
    for at in str(config.drop_at).split(",")
  )


def build(config, learning_rate: Callable, frozen=()) -> optax.GradientTransformation:
  """The optimizer that `config.optim` names.

  Args:
    config: `config.optim`.
    learning_rate: of a step.
    frozen: what stays as it is: parts of the network, such as "stem", or patterns of what the path
      of a parameter begins with, the names of modules joined by slashes.

  Raises:
    UserError: an unknown optimizer.
  """
  optimizer = OPTIMIZERS.find(config.name)(config, learning_rate)
  if not frozen:
    return optimizer

  pattern = re.compile(f"(?:{'|'.join(frozen)})/")

  def kind(path, _):
    return "frozen" if pattern.match("/".join(part.key for part in path)) else "training"

  return optax.partition(
    {"training": optimizer, "frozen": optax.set_to_zero()},
    lambda params: jax.tree_util.tree_map_with_path(kind, params),
  )


@OPTIMIZERS("sgd")
def sgd(config, learning_rate: Callable) -> optax.GradientTransformation:
  """SGD with weight decay on every parameter: v := m v + lr (g + decay w), w := w - v.

  The rate is inside the velocity, as in Caffe: when it drops, the velocity keeps its size. A g that
  is longer than `clip` is cut to it, unless that is 0.
  """
  steps = [
    optax.add_decayed_weights(config.weight_decay),
    optax.scale_by_learning_rate(learning_rate),
    optax.trace(decay=config.momentum, nesterov=config.nesterov),
  ]
  if config.clip:
    steps.insert(0, optax.clip_by_global_norm(config.clip))
  return optax.chain(*steps)


def kernels(params: Any) -> Any:
  """A mask of the parameters that are kernels: for weight decay that leaves BN and biases alone.

  It goes by name: a stage's later units are stacked, which gives BN's scale two dimensions.
  """
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
