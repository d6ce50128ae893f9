"""Runs as objects, for a notebook: load one, apply it, evaluate it."""

import dataclasses
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import data
from resnet_jax.config import paths
from resnet_jax.data import augment
from resnet_jax.distributed import mesh
from resnet_jax.errors import UserError
from resnet_jax.models import Network
from resnet_jax.runs import metrics
from resnet_jax.runs import workdir as workdir_lib
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.runs.headline import of_result
from resnet_jax.runs.progress import say
from resnet_jax.training import setup as setup_lib
from resnet_jax.training import steps


class Run(NamedTuple):
  """A trained network: `run(images)` gives logits."""

  config: Any
  learner: steps.Learner
  variables: dict[str, Any]  # params and batch_stats, for model.apply
  step: int
  info: data.Info  # its classes in the order of the logits
  normalization: tuple[Any, Any]

  def __repr__(self) -> str:  # a tuple's would print every weight
    return f"Run({config_lib.in_words(self.config)}, step {self.step})"

  @property
  def model(self) -> Network:
    """The network itself."""
    return self.learner.model

  def __call__(self, images: Any) -> Any:
    """uint8 images [N, H, W, C], as the data set has them -> logits [N, classes], or whatever else
    the task's head makes of them.

    Raises:
      UserError: the weights are a backbone's.
    """
    if self.config.task.name == "classification":
      self.require_classifier()
    return self.model.apply(self.variables, self.normalize(images))

  def require_classifier(self) -> None:
    """Raises a UserError where the network does not classify."""
    if self.config.task.name != "classification":
      raise UserError(
        f"the network was trained for config.task.name={self.config.task.name!r} and gives no "
        "logits of classes"
      )
    if not self.info.classes:
      raise UserError(
        "the weights hold no classifier and give no logits; resnet_jax.features and "
        "configs/finetune.py take them as they are"
      )

  def read(self, path: str | os.PathLike[str]) -> np.ndarray:
    """A photograph as the network takes it, uint8 [H, W, C]: the papers' single crop.

    Raises:
      Unreadable: it cannot be read.
    """
    from resnet_jax.data.photos import unreadable, views

    encoded = unreadable.read(os.path.expanduser(path))
    photographs = self.config.data.name in ("folder", "list")
    if self.config.model.family == "cifar" and not photographs:
      return views.small(encoded, self.info.shape)
    return views.Views("single", self.info.shape[0])(encoded)["0"]

  def normalize(self, images: Any) -> jax.Array:
    """uint8 images [N, H, W, C] as the network takes them."""
    if images.dtype != np.uint8:
      raise UserError(f"images of type {images.dtype}; give uint8, 0 to 255, as load_data does")
    return augment.normalize(jnp.asarray(images), *self.normalization, self.learner.task.dtype)


def load(model: str | os.PathLike[str], checkpoint: str | int = "last") -> Run:
  """The network in a run's folder, or in a weights file that `resnet_jax.convert` reads; what was
  read of a file is printed in one line. A file's net may lack its classifier.

  Raises:
    UserError: there is none, or it cannot be read.
  """
  path = pathlib.Path(paths.expand(model, "--model"))
  if not path.is_file():
    if not path.is_dir():
      raise UserError(f"--model={model} is neither a run's folder nor a weights file")
    return load_run(path, checkpoint)
  if checkpoint != "last":
    raise UserError(f"--checkpoint={checkpoint} is for runs; {model} is a weights file")
  from resnet_jax import convert

  config, variables, report = convert.load_weights(path, backbone=True)
  say(convert.said(path, config, report))
  classes = variables["params"]["classifier"]["bias"].size
  info = convert.info(config, classes, report.classes)
  found = learner(config, info)
  normalization = _normalization(config, config, report.fingerprint, found.task.dtype)
  return Run(config, found, jax.device_put(variables), 0, info, normalization)


def load_run(
  directory: str | os.PathLike[str], checkpoint: str | int = "last", config: Any = None
) -> Run:
  """The network that the run in `directory` has trained; nothing there is written.

  The data set is read only where the normalization comes from it.

  Args:
    directory: the run's workdir.
    checkpoint: last, best or a step.
    config: the run's own where None.

  Raises:
    UserError: there is no run, or no such checkpoint that is whole, or `config` is of another net
      or training set.
  """
  own = own_config(directory, config)
  config = own if config is None else fitting(own, config)
  info, found, state, position = restore(directory, checkpoint, config)
  here = mesh.replicated(mesh.own())
  constants = _normalization(config, own, position["data"], found.task.dtype)
  normalization = jax.device_put(constants, here)
  return Run(config, found, state.variables, position["step"], info, normalization)


def own_config(directory: str | os.PathLike[str], given: Any = None) -> Any:
  """The config of the run in `directory`, or `given` if its config.json is lost.

  Raises:
    UserError: there is no run.
  """
  path = pathlib.Path(paths.expand(directory, "--workdir"))
  own = workdir_lib.read_config(path, given)
  if own is None:
    raise UserError(f"--workdir={path} holds no run")
  return own


def fitting(own: Any, config: Any) -> Any:
  """`config`, for a run with the config `own`; a UserError where it is of another net."""
  config_lib.check(config)
  workdir_lib.refuse_other_network(own, config)
  return config


def restore(
  directory: str | os.PathLike[str], checkpoint: str | int, config: Any
) -> tuple[data.Info, steps.Learner, steps.TrainState, dict[str, Any]]:
  """A run's state, and what belongs to it, without its data set.

  Returns:
    what is known of the data set, the learner, the state and the position.

  Raises:
    UserError: no such checkpoint is whole and of this run.
  """
  path = pathlib.Path(paths.expand(directory, "--workdir"))
  own, checkpoint = own_config(path, config), str(checkpoint)
  checkpoints = Checkpoints(path, _warn)
  step = _step(path, checkpoint, checkpoints)
  setup_lib.use_type(config)
  if recorded := workdir_lib.recorded(path):  # the data set need not be here
    info = data.describe(config.data, recorded["shape"], recorded["classes"])
  else:
    info = data.info(config.data)
  found = learner(config, info)
  here = mesh.replicated(mesh.own())

  def foreign(position: dict[str, Any]) -> str | None:
    other, names = workdir_lib.other_run(own, position), workdir_lib.class_names(path, position)
    if not other and names and len(names) != len(info.classes):  # a net of another size
      raise UserError(
        f"{workdir_lib.class_changes(names, info.classes)} in the {config.data.name} here; restore "
        f"config.data.dir={config.data.dir!r} as it was, or {path / 'result.json'}"
      )
    return other

  restored = checkpoints.restore(setup_lib.template(found, info.shape, here), step, foreign)
  if not restored:
    there = ", ".join(map(str, checkpoints.steps())) or "none"
    why = checkpoints.refused and f": {checkpoints.refused}"
    raise UserError(f"{path} has no whole checkpoint {checkpoint!r}{why}; there are: {there}")
  state, position = restored
  workdir_lib.say_if_older(position, _warn)
  if names := workdir_lib.class_names(path, position):
    info = dataclasses.replace(info, classes=names)
  return info, found, state, position


def _warn(text: str) -> None:
  say(f"warning: {text}")


def _step(path: pathlib.Path, checkpoint: str, checkpoints: Checkpoints) -> int | None:
  """The step that `checkpoint` names; None for the newest."""
  if checkpoint == "best":
    return _best_step(path, checkpoints.steps())
  if checkpoint.isdecimal():
    return int(checkpoint)
  if checkpoint != "last":
    raise UserError(f"--checkpoint={checkpoint!r} is unknown; write last, best or a step")
  return None


def learner(config: Any, info: data.Info) -> steps.Learner:
  """What a network needs to be restored, without its data."""
  _, learning_rate = setup_lib.plan(config, config.data.batch_size)
  return setup_lib.build_learner(config, info, learning_rate)


def _normalization(config: Any, own: Any, fingerprint: str, dtype: Any) -> tuple[Any, Any]:
  if config.data.normalize not in config_lib.COMPUTED:
    return augment.normalization(None, config.data.normalize, dtype)
  dataset = data.load(config.data)
  refuse_other_data(own, config, dataset, fingerprint)
  return augment.normalization(dataset.images, config.data.normalize, dtype)


def refuse_other_data(own: Any, config: Any, dataset: data.Dataset, fingerprint: str) -> None:
  """Raises a UserError where images would be normalized by another set than the run's own."""
  computed = config.data.normalize in config_lib.COMPUTED
  if computed and config.data.test_split == own.data.test_split:
    workdir_lib.refuse_other_data(own, dataset, fingerprint)


def _best_step(path: pathlib.Path, kept: list[int]) -> int:
  """The first of the kept checkpoints with the best headline."""
  headline = of_result(workdir_lib.result(path))
  values: dict[int, float] = {
    row["step"]: row[headline.name]
    for row in metrics.read_rows(path)
    if row["split"] == "test" and row["step"] in kept
  }
  best = headline.best(values.values())
  for step, value in values.items():
    if value == best:
      return step
  raise UserError(f"{path} was never evaluated: no checkpoint is the best; take last")
