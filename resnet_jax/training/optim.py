"""The learning rate's schedule and SGD with momentum in Caffe's form ([R] 4.2, [I] appendix)."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from resnet_jax import config as config_lib
from resnet_jax import errors
from resnet_jax.errors import UserError

SCHEDULES = ("step", "cosine", "constant")
WARMUPS = ("constant", "linear")


def schedule(config, total: int, batch_size: int, examples: int) -> Callable:
  """The learning rate at a step.

  Args:
    config: `config.optim`.
    total: steps of the run, which "50%" is a share of.
    batch_size: of `config.data`, for durations in examples and epochs.
    examples: in the training set.

  Raises:
    UserError: an unknown schedule, or a duration that is none.
  """

  def steps(value, key):
    return config_lib.steps(value, f"optim.{key}", batch_size, examples, total)

  rate = config.learning_rate
  if config.schedule == "step":
    ats = drops(config, total, batch_size, examples)
    main = lambda step: (
      rate * config.drop_factor ** sum(jnp.asarray(step >= at, jnp.int32) for at in ats)
    )
  elif config.schedule == "cosine":
    main = optax.cosine_decay_schedule(rate, total)
  elif config.schedule == "constant":
    main = lambda step: jnp.full_like(step, rate, dtype=float)
  else:
    raise errors.unknown("optim.schedule", config.schedule, SCHEDULES)
  if config.warmup_schedule not in WARMUPS:
    raise errors.unknown("optim.warmup_schedule", config.warmup_schedule, WARMUPS)
  first, warmup = config.warmup_learning_rate, steps(config.warmup, "warmup")
  rise = (rate - first) / max(warmup, 1) if config.warmup_schedule == "linear" else 0.0
  return lambda step: jnp.where(step < warmup, first + rise * step, main(step))


def drops(config, total: int, batch_size: int, examples: int) -> list[int]:
  """The steps at which `schedule=step` multiplies the rate; the arguments are `schedule`'s."""
  at = lambda text: config_lib.steps(text, "optim.drop_at", batch_size, examples, total)
  return sorted(map(at, str(config.drop_at).split(",")))


def build(config, learning_rate: Callable, frozen=()) -> optax.GradientTransformation:
  """SGD with weight decay on every parameter: v := m v + lr (g + decay w), w := w - v.

  The rate is inside the velocity, as in Caffe: when it drops, the velocity keeps its size.

  Args:
    config: `config.optim`.
    learning_rate: of a step.
    frozen: what stays as it is: parts of the network, such as "stem", or patterns of what the path
      of a parameter begins with, the names of modules joined by slashes.

  Raises:
    UserError: a momentum of one or more, which grows without bound.
  """
  if config.momentum >= 1:
    raise UserError(f"config.optim.momentum={config.momentum} must be below 1")
  sgd = optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.scale_by_learning_rate(learning_rate),
    optax.trace(decay=config.momentum, nesterov=config.nesterov),
  )
  if not frozen:
    return sgd
  pattern = re.compile(f"(?:{'|'.join(frozen)})/")

  def kind(path, _):
    return "frozen" if pattern.match("/".join(part.key for part in path)) else "training"

  def kinds(params):
    return jax.tree_util.tree_map_with_path(kind, params)

  return optax.partition({"training": sgd, "frozen": optax.set_to_zero()}, kinds)
