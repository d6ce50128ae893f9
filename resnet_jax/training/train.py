"""The loop: build, restore, step, evaluate, checkpoint.

A run is a function of its config: killed anywhere and started again, it ends with the same bits.
What it needs for that is in the checkpoint, the state and the `Position`. Of several processes each
runs this loop; what only one of them can know is agreed on before it is acted on.
"""

import contextlib
import math
import os
import pathlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import config as config_lib
from resnet_jax.config import paths, settings
from resnet_jax.distributed import mesh, processes
from resnet_jax.distributed.preemption import StopRequest
from resnet_jax.errors import Diverged, Preempted, UserError
from resnet_jax.runs import record as record_lib
from resnet_jax.runs import results, workdir
from resnet_jax.runs.progress import Progress
from resnet_jax.runs.record import Position
from resnet_jax.training import evaluation, feed, finetune, steps
from resnet_jax.training.setup import Setup, check, plan, refuse_idle, setup

DISPATCH_SECONDS = 2.0  # how long one should take, so that a signal is heeded soon
PROFILED = 5  # steps in a trace, if no evaluation comes between
Advanced = tuple[steps.TrainState, dict[str, Any], float]  # a state, each step's metrics, seconds


def train(config, directory: str | os.PathLike, profile: bool = False) -> dict[str, Any]:
  """Trains the run that `config` describes in `directory`, or goes on with it.

  Returns:
    the result, as in `result.json`.

  Raises:
    UserError: something in the config or the folder cannot work; or photographs cannot be read,
      and the state is saved.
    Preempted: SIGTERM, SIGINT or SIGUSR2, in any process; the state is saved.
    Diverged: not finite any more; nothing of that was saved.
  """
  path = pathlib.Path(paths.expand(directory, "--workdir"))
  with contextlib.ExitStack() as stack:
    lookout, stop = stack.enter_context(processes.Lookout()), StopRequest()
    several = jax.process_count() > 1
    if several:
      stack.enter_context(stop)  # from here on none may leave alone
    check(config)
    mesh.check(config.data.batch_size)
    record_lib.patience()
    if several:
      values = config_lib.leaves(config)
      shared = values.keys() - {*settings.having("host")}
      processes.refuse_other({f"config.{key}": values[key] for key in shared})
    if new := processes.lead(lambda: workdir.begins(path)):
      config_lib.refuse_unread(config)
    old = processes.lead(lambda: enter(path, config, stack))
    run = setup(config)
    if new:
      refuse_idle(run)
    if not several:
      stack.enter_context(stop)
    progress = Progress(run.durations.steps, process=jax.process_index() if several else None)
    stack.enter_context(progress)
    for note in run.dataset.notes:
      progress.message(note)
    loop = Loop(run, path, stop, progress, lookout, profile)
    own_feed = feed.build(run, progress.warn, lookout.each)
    stack.enter_context(contextlib.closing(own_feed))
    loop.restore(old and config_lib.from_json(old))

    def advance(states, counts):
      with loop.kept():
        return [own_feed.advance(*states, *counts)]

    (result,) = take_turns([loop], advance)
    return result


def enter(path: pathlib.Path, config, stack: contextlib.ExitStack) -> dict[str, Any] | None:
  """Takes hold of the workdir; returns the config of the run that is there, as JSON."""
  old = workdir.read_config(path, config)
  if old is None:
    finetune.check(config)
  else:
    workdir.refuse_changes(old, config)
  stack.enter_context(workdir.lock(path))
  return old and config_lib.to_json(old)


def take_turns(loops: Sequence["Loop"], advance: Callable) -> list[dict[str, Any]]:
  """Brings runs to their ends, side by side; returns their results.

  Args:
    loops: the runs.
    advance: `(states, counts)` to, for each run, its state after so many steps and the metrics of
      each step; a count may be 0.

  Raises:
    UserError, OSError: one could not go on, as on a full disk; the others were let.
    Preempted: a signal; all have saved.
    Diverged: at least one has; the others have come to their ends.
  """
  turns = [loop.turns() for loop in loops]
  results: list[dict[str, Any]] = [{} for _ in loops]
  given: list[Any] = [None for _ in loops]
  running, raised = set(range(len(loops))), list[BaseException]()
  while True:
    counts = [0 for _ in loops]
    for number in sorted(running):
      try:
        counts[number] = turns[number].send(given[number])
        continue
      except StopIteration as end:
        results[number] = end.value
      except (UserError, OSError, Preempted, Diverged) as error:
        raised.append(error)
        if len(loops) > 1:
          loops[number].progress.message(str(error))
      running.remove(number)
    if not running:
      break
    begin = time.monotonic()
    advanced = advance([loop.state for loop in loops], counts)
    seconds = time.monotonic() - begin
    # They took as long as the most steps did; one that took fewer is no slower for that.
    share = [seconds * count / max(counts) for count in counts]
    given = [(*one, took) for one, took in zip(advanced, share, strict=True)]
  if raised:
    raise min(raised, key=lambda error: (isinstance(error, Diverged), isinstance(error, Preempted)))
  return results


class Loop:
  """One start of a run, from its newest checkpoint to its end or the next signal."""

  def __init__(self, run: Setup, path: pathlib.Path, stop, progress, lookout, profile=False):
    self.setup, self.path, self.stop = run, path, stop
    self.progress, self.lookout, self.profile = progress, lookout, profile
    self.here = run.own()
    self.record = record_lib.build(path, run, progress, processes.first())
    whose = record_lib.whose(run.config, run.dataset.info.classes)
    self.position = Position(data=run.dataset.fingerprint, **whose)
    self.evaluated: evaluation.Evaluation | None = None  # the last, if it was made here

  def restore(self, old) -> None:
    """Takes up the newest whole checkpoint, or begins.

    Raises:
      UserError: no checkpoint is whole, or it does not belong to this config or data set.
    """
    found: list[Any] = []  # by the first process alone

    def read() -> dict[str, Any] | None:
      found[:] = self.record.restore(old) or (None, None)
      return found[1] and vars(found[1])

    position = processes.lead(read)
    if position:
      self.position = Position(**position)
      self._check_past(old)
      state = found[0] if found else None
      self.state = processes.from_first(state, self.setup.template, self.setup.replicated)
      if self.position.step < self.setup.durations.steps:
        self.progress.message(f"resuming at step {self.position.step}")
    else:
      self.progress.phase("initializing")
      shape = self.setup.dataset.info.shape
      init = jax.jit(
        lambda: steps.init(self.setup.task, shape), out_shardings=self.setup.replicated
      )
      self.state = init()
      if self.setup.config.finetune.weights:
        self.state = finetune.begin(self.setup.config, self.state)
    processes.lead(lambda: self.record.begin(self.position, old))
    if self.position.step < self.setup.durations.steps:
      self._result("running")

  def _check_past(self, old) -> None:
    """A changed schedule, a longer run's too, must agree with the steps already taken."""
    if self.position.step > self.setup.durations.steps:
      raise UserError(
        f"config.train.steps={self.setup.config.train.steps!r} is behind the run, which stands at "
        f"step {self.position.step}; ask for that or more"
      )
    _, rate = plan(old, self.setup.dataset.train_examples)
    taken = jnp.arange(self.position.step)
    differ = np.flatnonzero(np.asarray(rate(taken) != self.setup.learning_rate(taken)))
    if len(differ):
      raise UserError(
        f"the run so far ({self.position.step} steps) had other learning rates than this config "
        f"gives, from step {differ[0]} on: train.steps {old.train.steps!r} -> "
        f"{self.setup.config.train.steps!r}, optim.schedule={self.setup.config.optim.schedule}; "
        "undo the change or take a new --workdir"
      )

  def turns(self) -> Generator[int, Advanced, dict[str, Any]]:
    """From where the run stands to its end: yields counts of steps, is sent what they gave."""
    durations, position = self.setup.durations, self.position
    done = position.step >= durations.steps
    if not done:
      self.progress.phase("compiling")
    count, warm = 1, False
    while True:
      self._measure()
      if position.step >= durations.steps:
        return self._finish("done already" if done else "done")
      ends = [(position.step // every + 1) * every for every in durations[1:]] + [durations.steps]
      trace = self.profile and warm
      count = min(max(count, PROFILED) if trace else count, min(ends) - position.step, feed.MOST)
      count = self._agree(count)
      with self._trace() if trace else contextlib.nullcontext():
        self.state, measured, seconds = yield count
      self._take(count, measured, seconds)  # or fewer, where photographs cannot be read
      # The first dispatch compiled: only the later ones tell how fast a step is.
      count = max(1, int(DISPATCH_SECONDS * count / seconds)) if warm else 1
      warm = True

  def _agree(self, count: int) -> int:
    """How many steps all take next, as the first process has it; or all leave, if one must."""
    stops, counts = processes.gather(np.asarray([bool(self.stop.received), count])).T
    if stops.any():
      self._leave()
    return int(counts[0])

  def _trace(self):
    self.profile = False
    self.progress.message(f"recording a trace in {self.path / 'profile'}")
    return jax.profiler.trace(str(self.path / "profile"))

  def _take(self, count: int, measured: dict[str, Any], seconds: float) -> None:
    """Counts and writes what `count` steps gave, or the first of them.

    Raises:
      Diverged: a step of these left something not finite.
    """
    position, batch_size = self.position, self.setup.task.batch_size
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
    row = {"step": position.step, "split": split, "epoch": epoch, **values, "timing": timing}
    with self.lookout.busy("writing metrics"):
      self.record.write(row)

  def _measure(self) -> None:
    """Evaluates and saves where the position asks for it."""
    position, durations = self.position, self.setup.durations
    last = position.step == durations.steps
    best = False
    evaluation_due = position.step and (position.step % durations.eval_every == 0 or last)
    if evaluation_due and position.evaluated != position.step:
      best = self._evaluate()
      self.record.draw_if_due()
    with self.lookout.busy("saving a checkpoint"):
      if position.step and (position.step % durations.checkpoint_every == 0 or last or best):
        self.record.save(self.state, position)
      else:
        self.record.retry(self.state, position)

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
    return True

  def _count_errors(self) -> evaluation.Evaluation:
    groups = evaluation.groups(self.here, warn=self.progress.warn)
    with self.kept():
      found = evaluation.evaluate(
        self.here.task,
        mesh.local(self.state.variables),
        self.lookout.each(groups, "reading test examples"),
        self.setup.dataset.test_examples,
        lambda: self.stop.received,
      )
    if found is None:
      self._leave()
    with self.kept(together=True):
      evaluation.check_read(found, self.setup)
    return found

  @contextlib.contextmanager
  def kept(self, together: bool = False) -> Iterator[None]:
    """Where an error of the input ends the run: the state is saved before, in a run of one process,
    or if all processes meet the error `together`.
    """
    try:
      yield
    except UserError as error:
      if not self.position.step or (jax.process_count() > 1 and not together):
        raise
      self._secure()
      raise UserError(f"{error}; step {self.position.step} is saved, run it again") from None

  def _leave(self) -> NoReturn:
    signal = self.stop.received or "a signal to another process"
    self.progress.message(f"{signal}: saving at step {self.position.step}")
    if self.position.step:
      self._secure()
    raise Preempted(f"stopped by {signal} at step {self.position.step}; run it again")

  def _secure(self) -> None:
    """Sees all that the run has come to on the disk, before it is left."""
    processes.lead(lambda: self.record.secure(self.state, self.position))
    self.record.close()
    self.record.draw()

  def _diverged(self, step: int, loss: float) -> NoReturn:
    rate = float(self.setup.learning_rate(step - 1))
    good = self.record.close()
    with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
      self._result("diverged", diverged_at=step, loss=str(loss), learning_rate=rate)
    self.record.draw()
    raise Diverged(
      f"the loss is {loss} or the weights are not finite at step {step}, learning "
      f"rate {rate:g}; the last good checkpoint is {'none' if good is None else good}"
    )

  def _result(self, status: str, **more: Any) -> dict[str, Any]:
    result = results.result(self.setup, self.position, status) | more
    self.record.write_result(result)
    return result

  def _finish(self, done: str) -> dict[str, Any]:
    step = self.position.step
    processes.lead(lambda: self.record.secure(self.state, self.position))
    if not processes.lead(lambda: self.record.has_predictions(step)):
      found = self.evaluated or self._count_errors()  # or an earlier start evaluated it
      self.record.write_predictions(found, step)
    self.record.close()
    if self.profile:
      self.progress.message("no trace was recorded: too few steps were left")
    if self.setup.durations.steps % self.setup.durations.log_every:
      self.progress.message("the last steps are fewer than log_every and stand in no row")
    result = self._result("done")
    self.record.draw()
    best = f"best {result['best_test_error']:.2f} % at step {self.position.best_step}"
    self.progress.message(
      f"{done}: test error {result['test_error']:.2f} %, {best}; {self.path / 'result.json'}"
    )
    return result
