"""Runs' folders made from weights; no data set is read."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax import api, convert, data
from resnet_jax import config as config_lib
from resnet_jax.distributed import mesh
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, record, workdir
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import setup


def write(
  path: pathlib.Path,
  weights: pathlib.Path,
  config: Any,
  variables: Any,
  fingerprint: str = "",
  classes: tuple[str, ...] | None = None,
) -> None:
  """Makes a run at step 0 of the variables that `load_weights` gave for a file.

  Args:
    path: the run's folder.
    weights: the file.
    config: of the net.
    variables: of the net.
    fingerprint: of the data set that images are normalized by; empty for constants.
    classes: their names in the order of the logits; None where the file has none.

  Raises:
    UserError: the folder is in use, holds anything already or cannot be written.
  """
  setup.use_type(config)
  outputs = variables["params"]["classifier"]["bias"].size
  info = convert.info(config, outputs, classes)
  state = _state(config, info, variables)
  with workdir.lock(path), weights.open("rb") as file:
    refuse_taken(path)
    checkpoints = Checkpoints(path, print)
    position = record.Position(data=fingerprint, **record.whose(config, classes))
    checkpoints.save(0, state, dataclasses.asdict(position))
    checkpoints.settle()
    checkpoints.close()
    if checkpoints.failure:
      raise UserError(f"--workdir={path} cannot be written: {checkpoints.failure}")
    result = {
      "status": "imported",
      "source": {"file": weights.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()},
      "data": {"name": info.name, "shape": list(info.shape), "classes": list(info.classes)},
    }
    metrics.write_json(path / "result.json", result)
    # Last: with it the folder is a run's.
    metrics.write_json(path / "config.json", config_lib.to_json(config))


def refuse_taken(path: pathlib.Path) -> None:
  """Raises a UserError where the folder holds anything."""
  if workdir.read_config(path) is not None:
    raise UserError(f"--workdir={path} holds a run; name a new folder")


def _state(config: Any, info: data.Info, variables: Any) -> Any:
  """The state of a run that has these weights and has not trained."""
  learner = api.learner(config, info)
  like = setup.template(learner, info.shape, mesh.replicated(mesh.build()))
  typed = jax.tree.map(
    lambda value, leaf: jnp.asarray(value, leaf.dtype),
    variables,
    {"params": like.params, "batch_stats": like.batch_stats},
  )
  opt_state = learner.optimizer.init(typed["params"])
  return like.replace(step=jnp.zeros((), jnp.int32), opt_state=opt_state, **typed)
