"""What the networks are trained for, by name: `config.task.name`.

A task is one file here, or a user's: a class of few pure functions. See `tasks.task.Task`.
"""

from collections.abc import Callable
from typing import Any

import ml_collections

from resnet_jax import errors
from resnet_jax.data import Info
from resnet_jax.tasks.classification import Classification, loss_function
from resnet_jax.tasks.task import Task, task

__all__ = ["Classification", "Task", "build", "check", "loss_function", "task"]


def check(config: Any) -> None:
  """Raises a UserError where `config.task` names no task or no loss."""
  if config.task.name not in task:
    raise errors.unknown("config.task.name", config.task.name, task)
  if config.task.loss not in loss_function:
    raise errors.unknown("config.task.loss", config.task.loss, loss_function)


def build(config: Any, info: Info) -> Task:
  """The task of a run on the data set of `info`.

  Raises:
    UserError: there is no such task, or it is none for such data.
  """
  check(config)
  make: Callable[..., Task] = task[config.task.name]
  return make(ml_collections.FrozenConfigDict(config), info)
