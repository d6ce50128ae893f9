"""What the networks are trained for, by name: `config.task.name`.

A task is one file here, or a user's: a class of few pure functions. See `tasks.task.Task`.
"""

from collections.abc import Callable
from typing import Any

import ml_collections

from resnet_jax import errors
from resnet_jax.data import Info
from resnet_jax.tasks.classification import LOSSES, Classification
from resnet_jax.tasks.task import TASKS, Task

__all__ = ["LOSSES", "TASKS", "Classification", "Task", "build", "check"]


def check(config: Any) -> None:
  """Raises a UserError where `config.task` names no task or no loss."""
  for key, known in (("name", TASKS), ("loss", LOSSES)):
    if config.task[key] not in known:
      raise errors.unknown(f"config.task.{key}", config.task[key], known)


def build(config: Any, info: Info) -> Task:
  """The task of a run on the data set of `info`.

  Raises:
    UserError: there is no such task, or it is none for such data.
  """
  check(config)
  make: Callable[..., Task] = TASKS[config.task.name]
  own = config.copy_and_resolve_references()
  own.data.pad, own.data.flip = info.pad, info.flip  # None is the data set's own
  return make(ml_collections.FrozenConfigDict(own), info)
