"""The loop: build, restore, step, evaluate, checkpoint.

A run is a function of its config: killed anywhere and started again, it ends with the same bits.
What it needs for that is in the checkpoint, the state and the `Position`.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import data, mesh, metrics, models, optim, results, steps, workdir
from resnet_jax.checkpoint import Checkpoints
from resnet_jax.data import augment
from resnet_jax.errors import Diverged, Preempted, UserError
from resnet_jax.evaluation import evaluate
from resnet_jax.preemption import StopRequest
from resnet_jax.progress import Progress

MOST = 256  # steps in one dispatch
DISPATCH_SECONDS = 2.0  # how long one should take, so that a signal is heeded soon
PROFILED = 5  # steps in a trace, if no evaluation comes between
RETRY_SECONDS = 10.0  # between attempts to write to a full disk ...
PATIENCE_SECONDS = float(os.environ.get("RESNET_JAX_DISK_PATIENCE", 60))  # ... at the end


@dataclasses.dataclass
class Position:
  """How far a run has come and what it has measured; saved beside the state."""

  step: int = 0
  evaluated: int = -1  # the last step evaluated
  test_error: float | None = None
  best_test_error: float | None = None
  best_step: int | None = None
  logged: int = 0  # the last step of the last training row
  loss: float = 0.0  # summed since then
  wrong: int = 0  # images since then
  data: str = ""  # the fingerprint of the data set
  seconds: float = 0.0  # of training, over all starts


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
  if config.model.dtype == "float64":
    jax.config.update("jax_enable_x64", True)
  devices = mesh.build(config.data.batch_size)
  dataset = data.load(config.data)
  durations, learning_rate = plan(config, len(dataset.train.labels))
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


def train(config, directory: str | os.PathLike, profile: bool = False) -> dict[str, Any]:
  """Trains the run that `config` describes in `directory`, or goes on with it.

  Returns:
    the result, as in `result.json`.

  Raises:
    UserError: something in the config or the folder cannot work.
    Preempted: SIGTERM or SIGINT; the state is saved.
    Diverged: not finite any more; nothing of that was saved.
  """
  path = pathlib.Path(directory)
  check(config)
  mesh.build(config.data.batch_size)
  old = workdir.read_config(path)
  if old is not None:
    workdir.refuse_changes(old, config)
  with workdir.lock(path):
    run = setup(config)
    with StopRequest() as stop, Progress(run.durations.steps) as progress:
      loop = Loop(run, path, stop, progress, profile)
      loop.restore(old)
      return loop.run()


class Loop:
  """One start of a run, from its newest checkpoint to its end or the next signal."""

  def __init__(self, run: Setup, path: pathlib.Path, stop: StopRequest, progress, profile=False):
    self.setup, self.path, self.stop, self.progress = run, path, stop, progress
    self.log = metrics.MetricsLog(path)
    self.checkpoints = Checkpoints(path, progress.message)
    self.position = Position(data=run.dataset.fingerprint)
    self.profile = profile
    self.dispatch = jax.jit(steps.dispatch(run.task, MOST), donate_argnums=0)
    self.retry_at = 0.0

  def restore(self, old) -> None:
    """Takes up the newest whole checkpoint, or begins.

    Raises:
      UserError: the steps behind it do not belong to this config or this data set.
    """
    restored = self.checkpoints.restore(self.setup.template)
    if restored:
      self.state, position = restored
      self.position = Position(**position)
      self._check_past(old)
      self.progress.message(f"resuming at step {self.position.step}")
    else:
      self.progress.phase("initializing")
      shape = self.setup.dataset.info.shape
      init = jax.jit(
        lambda: steps.init(self.setup.task, shape), out_shardings=self.setup.replicated
      )
      self.state = init()
    self.checkpoints.best_step = self.position.best_step
    self.checkpoints.discard_after(self.position.step)
    self.started = time.monotonic() - self.position.seconds
    metrics.write_json(self.path / "config.json", config_lib.to_json(self.setup.config))

  def _check_past(self, old) -> None:
    """The data must be the same, and a changed schedule, a longer run's too, must agree with the
    steps already taken.
    """
    dataset, name = self.setup.dataset, self.setup.config.data.name
    if self.position.data != dataset.fingerprint:
      raise UserError(
        f"the {name} here (fingerprint {dataset.fingerprint}) is not the one that the run began "
        f"with ({self.position.data}); restore config.data.dir={old.data.dir!r} or take a new "
        "--workdir"
      )
    if self.position.step > self.setup.durations.steps:
      raise UserError(
        f"config.train.steps={self.setup.config.train.steps!r} is behind the run, which stands at "
        f"step {self.position.step}; ask for that or more"
      )
    _, rate = plan(old, len(dataset.train.labels))
    taken = jnp.arange(self.position.step)
    differ = np.flatnonzero(np.asarray(rate(taken) != self.setup.learning_rate(taken)))
    if len(differ):
      raise UserError(
        f"the run so far ({self.position.step} steps) had other learning rates than this config "
        f"gives, from step {differ[0]} on: train.steps {old.train.steps!r} -> "
        f"{self.setup.config.train.steps!r}, optim.schedule={self.setup.config.optim.schedule}; "
        "undo the change or take a new --workdir"
      )

  def run(self) -> dict[str, Any]:
    """From where the run stands to its end."""
    durations, position = self.setup.durations, self.position
    self.progress.phase("compiling")
    count, warm = 1, False
    while True:
      self._measure()
      if position.step >= durations.steps:
        return self._finish()
      if self.stop.received:
        self._leave()
      ends = [(position.step // every + 1) * every for every in durations[1:]] + [durations.steps]
      trace = self.profile and warm
      count = min(max(count, PROFILED) if trace else count, min(ends) - position.step, MOST)
      with self._trace() if trace else contextlib.nullcontext():
        seconds = self._advance(count)
      # The first dispatch compiled: only the later ones tell how fast a step is.
      count = max(1, int(DISPATCH_SECONDS * count / seconds)) if warm else 1
      warm = True

  def _trace(self):
    self.profile = False
    self.progress.message(f"recording a trace in {self.path / 'profile'}")
    return jax.profiler.trace(str(self.path / "profile"))

  def _advance(self, count: int) -> float:
    """Takes `count` steps; returns their seconds.

    Raises:
      Diverged: a step of these left something not finite.
    """
    position, batch_size = self.position, self.setup.task.batch_size
    begin = time.monotonic()
    self.state, measured = self.dispatch(self.state, self.setup.train, np.int32(count))
    measured = {key: np.asarray(value)[:count] for key, value in measured.items()}
    seconds = time.monotonic() - begin
    for loss, wrong, finite in zip(
      measured["loss"], measured["wrong"], measured["finite"], strict=True
    ):
      if not finite:
        self._diverged(float(loss))
      position.step += 1
      position.loss += float(loss)
      position.wrong += int(wrong)
      if position.step % self.setup.durations.log_every == 0:
        self._log_training(count * batch_size / seconds)
    error = 100 * float(measured["wrong"].mean()) / batch_size
    self.progress.update(
      position.step, float(measured["loss"].mean()), error, count * batch_size / seconds
    )
    return seconds

  def _log_training(self, images_per_second: float) -> None:
    position, count = self.position, self.position.step - self.position.logged
    self._write(
      "train",
      loss=position.loss / count,
      error=100 * position.wrong / (count * self.setup.task.batch_size),
      learning_rate=float(self.setup.learning_rate(position.step - 1)),
      timing={"images_per_second": images_per_second},
    )
    position.logged, position.loss, position.wrong = position.step, 0.0, 0

  def _write(self, split: str, timing: dict[str, float], **values: float) -> None:
    position, examples = self.position, len(self.setup.dataset.train.labels)
    epoch = position.step * self.setup.task.batch_size / examples
    timing = {"seconds": time.monotonic() - self.started} | timing
    self.log.write(
      {"step": position.step, "split": split, "epoch": epoch, **values, "timing": timing}
    )

  def _measure(self) -> None:
    """Evaluates and saves where the position asks for it."""
    position, durations = self.position, self.setup.durations
    last = position.step == durations.steps
    best = False
    evaluation_due = position.step and (position.step % durations.eval_every == 0 or last)
    if evaluation_due and position.evaluated != position.step:
      best = self._evaluate()
    due = position.step and (position.step % durations.checkpoint_every == 0 or last or best)
    if due or (self.checkpoints.failure and time.monotonic() > self.retry_at):
      self._save()

  def _evaluate(self) -> bool:
    """Measures the test error; returns whether it is the best so far."""
    begin, position, test = time.monotonic(), self.position, self.setup.test
    evaluation = evaluate(self.setup.task, self.state.variables, test, lambda: self.stop.received)
    if evaluation is None:
      self._leave()
      return False
    error, loss = evaluation.error, evaluation.loss
    seconds = time.monotonic() - begin
    position.evaluated, position.test_error = position.step, error
    self._write("test", {"images_per_second": len(test.labels) / seconds}, loss=loss, error=error)
    self.progress.message(f"step {position.step}: test error {error:.2f} %, loss {loss:.4f}")
    if position.best_test_error is not None and error >= position.best_test_error:
      return False
    position.best_test_error, position.best_step = error, position.step
    self.checkpoints.best_step = position.step
    return True

  def _save(self) -> None:
    position = self.position
    self.checkpoints.settle()
    if position.step == self.checkpoints.last_good:
      return  # a finished run that is started again keeps its time
    position.seconds = time.monotonic() - self.started
    self.retry_at = time.monotonic() + RETRY_SECONDS
    if not self.log.flush():  # a resume from this step would not measure the rows before it again
      self.checkpoints.failure = "metrics rows cannot be written"
      return
    self.checkpoints.save(position.step, self.state, dataclasses.asdict(position))

  def _secure(self) -> None:
    """Sees the state and every row on the disk, trying for a while where it is full.

    Raises:
      UserError: it stayed full; what is missing is named.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
      self._save()
      self.checkpoints.settle()
      written = self.log.flush()
      if written and self.checkpoints.last_good == self.position.step:
        return
      if time.monotonic() > deadline:
        raise UserError(
          f"the disk of {self.path} cannot be written ({self.checkpoints.failure}): missing are "
          f"the checkpoint of step {self.position.step} and {self.log.pending} metrics rows; the "
          f"last good checkpoint is {self.checkpoints.last_good}; free space and run this again"
        )
      time.sleep(min(RETRY_SECONDS, PATIENCE_SECONDS / 4))

  def _leave(self) -> None:
    self.progress.message(f"{self.stop.received}: saving at step {self.position.step}")
    if self.position.step:
      self._secure()
      self.checkpoints.close()
    raise Preempted(f"stopped by {self.stop.received} at step {self.position.step}; run it again")

  def _diverged(self, loss: float) -> None:
    position = self.position
    self.checkpoints.settle()
    self.checkpoints.close()
    rate = float(self.setup.learning_rate(position.step))
    good = self.checkpoints.last_good
    with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
      self._result("diverged", diverged_at=position.step + 1, loss=str(loss), learning_rate=rate)
    raise Diverged(
      f"the loss is {loss} or the weights are not finite at step {position.step + 1}, learning "
      f"rate {rate:g}; the last good checkpoint is {'none' if good is None else good}"
    )

  def _result(self, status: str, **more: Any) -> dict[str, Any]:
    result = results.result(self.setup, self.position, status) | more
    metrics.write_json(self.path / "result.json", result)
    return result

  def _finish(self) -> dict[str, Any]:
    self._secure()
    self.checkpoints.close()
    if self.profile:
      self.progress.message("no trace was recorded: too few steps were left")
    if self.setup.durations.steps % self.setup.durations.log_every:
      self.progress.message("the last steps are fewer than log_every and stand in no row")
    result = self._result("done")
    results.plot(self.path, self.setup.config)
    best = f"best {result['best_test_error']:.2f} % at step {self.position.best_step}"
    self.progress.message(
      f"done: test error {result['test_error']:.2f} %, {best}; {self.path / 'result.json'}"
    )
    return result
