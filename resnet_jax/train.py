"""The loop: build, restore, step, evaluate, checkpoint.

A run is a function of its config: killed anywhere and started again, it ends with the same bits.
What it needs for that is in the checkpoint, the state and the `Position`.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import time
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import config as config_lib
from resnet_jax import evaluation, feed, finetune, mesh, metrics, results, steps, workdir
from resnet_jax.checkpoint import Checkpoints
from resnet_jax.errors import Diverged, Preempted, UserError
from resnet_jax.preemption import StopRequest
from resnet_jax.progress import Progress
from resnet_jax.setup import Setup, check, plan, setup

DISPATCH_SECONDS = 2.0  # how long one should take, so that a signal is heeded soon
PROFILED = 5  # steps in a trace, if no evaluation comes between
RETRY_SECONDS = 10.0  # between attempts to write to a full disk ...
PATIENCE_SECONDS = 60.0  # ... at the end
DRAWING_SECONDS = 60.0  # between two pictures of the curves


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
  peak_memory_bytes: int = 0  # the most of any start


def train(config, directory: str | os.PathLike, profile: bool = False) -> dict[str, Any]:
  """Trains the run that `config` describes in `directory`, or goes on with it.

  Returns:
    the result, as in `result.json`.

  Raises:
    UserError: something in the config or the folder cannot work.
    Preempted: SIGTERM, SIGINT or SIGUSR2; the state is saved.
    Diverged: not finite any more; nothing of that was saved.
  """
  path = pathlib.Path(directory)
  check(config)
  mesh.check(config.data.batch_size)
  patience = _patience()
  old = workdir.read_config(path)
  if old is None:
    finetune.check(config)
  else:
    workdir.refuse_changes(old, config)
  with workdir.lock(path):
    run = setup(config)
    with StopRequest() as stop, Progress(run.durations.steps) as progress:
      loop = Loop(run, path, stop, progress, patience, profile)
      with contextlib.closing(loop.feed):
        loop.restore(old)
        return loop.run()


def _patience() -> float:
  """How many seconds a run waits at its end for space on a full disk."""
  given = os.environ.get("RESNET_JAX_DISK_PATIENCE", PATIENCE_SECONDS)
  try:
    return float(given)
  except ValueError:
    raise UserError(f"RESNET_JAX_DISK_PATIENCE={given!r} is no number of seconds") from None


class Loop:
  """One start of a run, from its newest checkpoint to its end or the next signal."""

  def __init__(self, run: Setup, path: pathlib.Path, stop, progress, patience, profile=False):
    self.setup, self.path, self.stop, self.progress = run, path, stop, progress
    self.patience = patience
    self.log = metrics.MetricsLog(path)
    self.checkpoints = Checkpoints(path, progress.message)
    self.position = Position(data=run.dataset.fingerprint)
    self.profile = profile
    self.feed = feed.build(run, progress.message)
    self.retry_at = self.draw_at = 0.0
    self.evaluated: evaluation.Evaluation | None = None  # the last, if it was made here

  def restore(self, old) -> None:
    """Takes up the newest whole checkpoint, or begins.

    Raises:
      UserError: no checkpoint is whole, or its steps do not belong to this config or data set.
    """
    restored = self.checkpoints.restore(self.setup.template)
    if restored:
      self.state, position = restored
      self.position = Position(**position)
      self._check_past(old)
      self.progress.message(f"resuming at step {self.position.step}")
    elif self.checkpoints.steps():
      raise UserError(
        f"none of the checkpoints in {self.checkpoints.directory} can be restored; mend them, or "
        "move that folder away to begin again"
      )
    else:
      self.progress.phase("initializing")
      shape = self.setup.dataset.info.shape
      init = jax.jit(
        lambda: steps.init(self.setup.task, shape), out_shardings=self.setup.replicated
      )
      self.state = init()
      if self.setup.config.finetune.weights:
        self.state = finetune.begin(self.setup.config, self.state)
    self.checkpoints.best_step = self.position.best_step
    self.checkpoints.discard_after(self.position.step)
    if old is not None and config_lib.differences(old, self.setup.config):
      self.log.discard_after(self.position.step)  # the steps to come may be measured otherwise
    self.started = time.monotonic() - self.position.seconds
    metrics.write_json(self.path / "config.json", config_lib.to_json(self.setup.config))
    if self.position.step < self.setup.durations.steps:
      self._result("running")

  def _check_past(self, old) -> None:
    """The data must be the same, and a changed schedule, a longer run's too, must agree with the
    steps already taken.
    """
    dataset = self.setup.dataset
    workdir.refuse_other_data(old, dataset, self.position.data)
    if self.position.step > self.setup.durations.steps:
      raise UserError(
        f"config.train.steps={self.setup.config.train.steps!r} is behind the run, which stands at "
        f"step {self.position.step}; ask for that or more"
      )
    _, rate = plan(old, dataset.train_examples)
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
      count = min(max(count, PROFILED) if trace else count, min(ends) - position.step, feed.MOST)
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
    self.state, measured = self.feed.advance(self.state, count)
    seconds = time.monotonic() - begin
    for loss, wrong, finite in zip(
      measured["loss"], measured["wrong"], measured["finite"], strict=True
    ):
      if not finite:
        self._diverged(position.step + 1, float(loss))
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
    position, examples = self.position, self.setup.dataset.train_examples
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
      if time.monotonic() > self.draw_at:
        self._draw()
    self.checkpoints.settle_if_done()
    due = position.step and (position.step % durations.checkpoint_every == 0 or last or best)
    if due or (self.checkpoints.failure and time.monotonic() > self.retry_at):
      self._save()

  def _evaluate(self) -> bool:
    """Measures the test error; returns whether it is the best so far."""
    begin, position = time.monotonic(), self.position
    found = self.evaluated = self._count_errors()
    error, loss = found.error, found.loss
    if not math.isfinite(loss):
      self._diverged(position.step, loss)
    rate = len(found.labels) / (time.monotonic() - begin)
    position.evaluated, position.test_error = position.step, error
    top5 = {"top5_error": found.top5_error} if self.setup.config.model.family == "imagenet" else {}
    self._write("test", {"images_per_second": rate}, loss=loss, error=error, **top5)
    self.progress.message(
      f"step {position.step}: test error {error:.2f} %"
      + "".join(f", top-5 {value:.2f} %" for value in top5.values())
      + f", loss {loss:.4f}"
    )
    if position.best_test_error is not None and error >= position.best_test_error:
      return False
    position.best_test_error, position.best_step = error, position.step
    self.checkpoints.best_step = position.step
    return True

  def _count_errors(self) -> evaluation.Evaluation:
    run, stopped = self.setup, lambda: self.stop.received
    groups = evaluation.groups(run, warn=self.progress.message)
    examples = run.dataset.test_examples
    found = evaluation.evaluate(run.task, self.state.variables, groups, examples, stopped)
    return found or self._leave()

  def _save(self) -> None:
    position = self.position
    self.checkpoints.settle()
    if position.step == self.checkpoints.last_good:
      return  # a finished run that is started again keeps its time
    position.seconds = time.monotonic() - self.started
    position.peak_memory_bytes = max(position.peak_memory_bytes, results.peak_memory_bytes())
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
    deadline = time.monotonic() + self.patience
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
      time.sleep(min(RETRY_SECONDS, self.patience / 4))

  def _leave(self) -> NoReturn:
    self.progress.message(f"{self.stop.received}: saving at step {self.position.step}")
    if self.position.step:
      self._secure()
      self.checkpoints.close()
      self._draw()
    raise Preempted(f"stopped by {self.stop.received} at step {self.position.step}; run it again")

  def _diverged(self, step: int, loss: float) -> None:
    self.checkpoints.settle()
    self.checkpoints.close()
    rate = float(self.setup.learning_rate(step - 1))
    good = self.checkpoints.last_good
    with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
      self._result("diverged", diverged_at=step, loss=str(loss), learning_rate=rate)
    self._draw()
    raise Diverged(
      f"the loss is {loss} or the weights are not finite at step {step}, learning "
      f"rate {rate:g}; the last good checkpoint is {'none' if good is None else good}"
    )

  def _result(self, status: str, **more: Any) -> dict[str, Any]:
    result = results.result(self.setup, self.position, status) | more
    metrics.write_json(self.path / "result.json", result)
    return result

  def _draw(self) -> None:
    self.draw_at = time.monotonic() + DRAWING_SECONDS
    with contextlib.suppress(OSError):  # a picture can be drawn again
      results.plot(self.path, self.setup.config)

  def _write_predictions(self) -> None:
    """What the last step predicts for every test example, which reports compare in pairs."""
    path, step = self.path / "predictions.npz", self.position.step
    if results.predictions_step(path) == step:
      return
    found = self.evaluated or self._count_errors()  # or an earlier start evaluated it
    results.write_predictions(path, found.predictions, found.labels, step)

  def _finish(self) -> dict[str, Any]:
    self._secure()
    self._write_predictions()
    self.checkpoints.close()
    if self.profile:
      self.progress.message("no trace was recorded: too few steps were left")
    if self.setup.durations.steps % self.setup.durations.log_every:
      self.progress.message("the last steps are fewer than log_every and stand in no row")
    result = self._result("done")
    self._draw()
    best = f"best {result['best_test_error']:.2f} % at step {self.position.best_step}"
    self.progress.message(
      f"done: test error {result['test_error']:.2f} %, {best}; {self.path / 'result.json'}"
    )
    return result
