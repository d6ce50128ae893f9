"""Runs' folders made from weights, and weights taken from runs' folders; no data set is read."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from resnet_jax import api, convert, data, mesh, metrics, setup, train, workdir
from resnet_jax import config as config_lib
from resnet_jax.checkpoint import Checkpoints
from resnet_jax.convert import network
from resnet_jax.errors import UserError


def write(path: pathlib.Path, weights: pathlib.Path, config: Any, variables: Any) -> None:
  """Makes a run at step 0 of the variables that `load_weights` gave for a file.

  Raises:
    UserError: the folder is in use, holds anything already or cannot be written.
  """
  setup.use_type(config)
  info = convert.info(config, variables["params"]["classifier"]["bias"].size)
  state = _state(config, info, variables)
  with workdir.lock(path), weights.open("rb") as file:
    refuse_taken(path)
    checkpoints = Checkpoints(path, print)
    checkpoints.save(0, state, dataclasses.asdict(train.Position()))
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


def config_of(path: pathlib.Path) -> Any:
  """The config of a run whose weights others have names for.

  Raises:
    UserError: there is no run, or it is of another net.
  """
  config = workdir.read_config(path)
  if config is None:
    raise UserError(f"--workdir={path} holds no run")
  network.check(config)
  return config


def read(path: pathlib.Path, config: Any, checkpoint: str = "last") -> tuple[dict[str, Any], int]:
  """The variables, in numpy, of the run in `path`, and their step.

  Args:
    path: the run's folder.
    config: the run's.
    checkpoint: last, best or a step.

  Raises:
    UserError: there is no such checkpoint that is whole.
  """
  if checkpoint not in ("last", "best") and not checkpoint.isdecimal():
    raise UserError(f"--checkpoint={checkpoint!r} is unknown; write last, best or a step")
  setup.use_type(config)
  checkpoints = Checkpoints(path, lambda text: print(f"warning: {text}"))
  template = _template(config, _info(checkpoints, config))
  step = int(checkpoint) if checkpoint.isdecimal() else None
  found = checkpoints.restore(template, step)
  if found and checkpoint == "best" and found[1]["best_step"] != found[1]["step"]:
    found = checkpoints.restore(template, _best(path, found[1]["best_step"]))
  if not found:
    raise _none(checkpoints, checkpoint)
  state, position = found
  return jax.device_get(state.variables), position["step"]


def _best(path: pathlib.Path, step: int | None) -> int:
  if step is None:
    raise UserError(f"{path} was never evaluated: no checkpoint is the best; take last")
  return step


def _none(checkpoints: Checkpoints, wanted: str) -> UserError:
  there = ", ".join(map(str, checkpoints.steps())) or "none"
  return UserError(f"{checkpoints.directory} has no whole checkpoint {wanted!r}; there: {there}")


def _info(checkpoints: Checkpoints, config: Any) -> data.Info:
  """As much of the data set as the shapes of the weights tell."""
  with ocp.StandardCheckpointer() as orbax:
    for step in checkpoints.steps():
      try:
        metadata = orbax.metadata(checkpoints.directory / str(step) / "state")
        params = metadata.item_metadata["params"]
        channels = params["stem"]["conv"]["kernel"].shape[2]
        classes = params["classifier"]["bias"].shape[0]
      except Exception:  # of a damaged file Orbax raises whatever comes of it; others may be whole
        continue
      size = config.data.image_size  # of which no weight depends
      return data.describe(config.data, (size, size, channels), tuple(map(str, range(classes))))
  raise _none(checkpoints, "last")


def _template(config: Any, info: data.Info) -> Any:
  """The shapes and types of the run's state."""
  here = mesh.replicated(mesh.build())
  return setup.template(api.task(config, info), info.shape, here)


def _state(config: Any, info: data.Info, variables: Any) -> Any:
  """The state of a run that has these weights and has not trained."""
  like = _template(config, info)
  params, batch_stats = (
    jax.tree.map(lambda value, leaf: jnp.asarray(value, leaf.dtype), variables[kind], shapes)
    for kind, shapes in (("params", like.params), ("batch_stats", like.batch_stats))
  )
  opt_state = api.task(config, info).optimizer.init(params)
  return like.replace(
    step=jnp.zeros((), jnp.int32), params=params, batch_stats=batch_stats, opt_state=opt_state
  )
