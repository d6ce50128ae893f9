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
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import config as config_lib
from resnet_jax.config import parts, paths, settings
from resnet_jax.distributed import mesh, processes
from resnet_jax.distributed.preemption import StopRequest
from resnet_jax.errors import Diverged, Preempted, UserError
from resnet_jax.native import choice
from resnet_jax.runs import record as record_lib
from resnet_jax.runs import results, workdir
from resnet_jax.runs.headline import in_words, named
from resnet_jax.runs.progress import Progress
from resnet_jax.runs.record import Position
from resnet_jax.training import evaluation, feed, finetune, steps
from resnet_jax.training.setup import Setup, check, plan, refuse_idle, setup

DISPATCH_SECONDS = 2.0  # how long one should take, so that a signal is heeded soon
PROFILED = 5  # steps in a trace, if no evaluation comes between


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
    values = config_lib.leaves(config)
    shared = values.keys() - {*settings.having("host")}
    texts = {f"SHA-256 of {part}": text for part, text in parts.texts(config).items()}
    processes.refuse_other({f"config.{key}": values[key] for key in shared} | texts)
    run, (old,) = enter_all([path], [config], stack)
    if not several:
      stack.enter_context(stop)
    process = jax.process_index() if several else None
    progress = stack.enter_context(Progress(run.durations.steps, process=process))
    for note in run.dataset.notes:
      progress.message(note)
    loop = Loop(run, path, stop, progress, lookout, profile)
    own_feed = feed.build(run, progress.warn, lookout.each)
    stack.callback(own_feed.close)
    loop.restore(old)
    return to_its_end(loop, own_feed)


def to_its_end(loop: "Loop", own_feed: feed.Feed) -> dict[str, Any]:
  """Counts, steps, takes, evaluates and saves until the run is done; returns its result."""
  if not loop.done:
    loop.progress.phase("compiling")
  loop.measure()  # where an earlier start was stopped before it could
  while not loop.done:
    count = loop.count()
    begin = time.monotonic()
    with loop.kept(), loop.traced():
      taken = own_feed.advance(loop.state, count)
    loop.take(taken, count, time.monotonic() - begin)
    loop.measure()
  return loop.finish()


def enter_all(
  places: Sequence[pathlib.Path], configs: Sequence[Any], stack: contextlib.ExitStack
) -> tuple[Setup, list[Any]]:
  """Takes hold of the workdirs and sets up the first of the configs, which differ in their seeds;
  returns also the configs of the runs that are there.
  """
  if new := processes.lead(lambda: workdir.begins(*places)):
    config_lib.refuse_unread(configs[0])
  old = processes.lead(lambda: [enter(*each, stack) for each in zip(places, configs, strict=True)])
  run = setup(configs[0])
  if new:
    refuse_idle(run)
  return run, [tree and config_lib.from_json(tree) for tree in old]


def enter(path: pathlib.Path, config, stack: contextlib.ExitStack) -> dict[str, Any] | None:
  """Takes hold of the workdir; returns the config of the run that is there, as JSON."""
  old = workdir.read_config(path, config)
  if old is None:
    finetune.check(config)
  else:
    workdir.refuse_changes(old, config)
  stack.enter_context(workdir.lock(path))
  return old and config_lib.to_json(old)


class Loop:
  """One start of a run, from its newest checkpoint to its end or the next signal."""

  def __init__(self, run: Setup, path: pathlib.Path, stop, progress, lookout, profile=False):
    self.setup, self.path, self.stop = run, path, stop
    self.progress, self.lookout, self.profile = progress, lookout, profile
    self.here = run.own()
    first = processes.first()
    self.record: Any = record_lib.Record(path, run, progress) if first else record_lib.Nothing()
    whose = record_lib.whose(run.config, run.dataset.info.classes)
    self.position = Position(data=run.dataset.fingerprint, **whose)
    self.evaluated: evaluation.Evaluation | None = None  # the last, if it was made here
    self._asked, self._warm = 1, False  # the steps of the next dispatch; whether they are compiled

  def restore(self, old) -> None:
    """Takes up the newest whole checkpoint, or begins.

    Raises:
      UserError: no checkpoint is whole, or it does not belong to this config or data set.
    """
    run, state = self.setup, None  # a state in the first process only

    def read() -> dict[str, Any] | None:
      nonlocal state
      state, position = self.record.restore(old)
      return position and vars(position)

    if position := processes.lead(read):
      self.position = Position(**position)
      self._check_past(old)
      self.state = processes.from_first(state, run.template, run.replicated)
      if not self.done:
        self._tell_kernels()
        self.progress.message(f"resuming at step {self.position.step}")
    else:
      self._tell_kernels()
      self.progress.phase("initializing")
      shape = run.dataset.info.shape
      init = jax.jit(lambda: steps.init(run.learner, shape), out_shardings=run.replicated)
      self.state = init()
      if run.config.finetune.weights:
        self.state = finetune.begin(run.config, self.state)
    processes.lead(lambda: self.record.begin(self.position, old))
    if not self.done:
      self.position.kernels = run.choice.kernels
      self._result("running")

  def _tell_kernels(self) -> None:
    """Says whose convolutions the steps to come are, and whether those so far were others'."""
    text = f"kernels: {self.setup.choice}"
    before = self.position.kernels or choice.LIBRARY  # all that older versions had
    if self.position.step and before != self.setup.choice.kernels:
      text += (
        f"; up to step {self.position.step} they were {before}, so that from here on the bits are "
        "not those of a run that was never stopped"
      )
    self.progress.message(text)

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

  @property
  def done(self) -> bool:
    """Whether no step is left."""
    return self.position.step >= self.setup.durations.steps

  def count(self) -> int:
    """How many steps to take next: up to what is due, and as many as a dispatch should last.

    Raises:
      Preempted: all processes leave, if one must.
    """
    step, durations = self.position.step, self.setup.durations
    ends = [(step // every + 1) * every for every in durations[1:]] + [durations.steps]
    asked = max(self._asked, PROFILED) if self._traces else self._asked
    count = min(asked, min(ends) - step, feed.MOST)
    stops, counts = processes.gather(np.asarray([bool(self.stop.received), count])).T
    if stops.any():
      self._leave()
    return int(counts[0])  # as the first process has it

  @property
  def _traces(self) -> bool:
    return self.profile and self._warm

  def traced(self) -> contextlib.AbstractContextManager:
    """Records the first steps after those that compiled, if that is asked for."""
    if not self._traces:
      return contextlib.nullcontext()
    self.profile = False
    self.progress.message(f"recording a trace in {self.path / 'profile'}")
    return jax.profiler.trace(str(self.path / "profile"))

  def take(self, taken: steps.Taken, count: int, seconds: float) -> None:
    """Takes over the state after `count` steps, or fewer where photographs cannot be read, and
    writes what they measured.

    Raises:
      Diverged: a step of these left something not finite.
    """
    (self.state, measured), position = taken, self.position
    images_per_second = count * self.setup.learner.batch_size / seconds
    own = sorted(measured.keys() - {"loss", "finite"})
    sums = {name: measured[name] for name in ("loss", *own)}
    for index, finite in enumerate(measured["finite"]):
      if not finite:
        self._diverged(position.step + 1, float(measured["loss"][index]))
      position.step += 1
      for name, values in sums.items():
        position.sums[name] = position.sums.get(name, 0) + values[index].item()
      if position.step % self.setup.durations.log_every == 0:
        self._log_training(images_per_second)
    means = self._means({name: values.sum() for name, values in sums.items()}, len(sums["loss"]))
    shown = [named(name, self.setup.learner.task.metrics) for name in means]
    text = "  ".join(f"{metric.title} {metric.text(means[metric.name])}" for metric in shown)
    self.progress.update(position.step, text, images_per_second)
    # The first dispatch compiled: only the later ones tell how fast a step is.
    self._asked = max(1, int(DISPATCH_SECONDS * count / seconds)) if self._warm else 1
    self._warm = True

  def _means(self, sums: dict[str, Any], count: int) -> dict[str, float]:
    """Sums over `count` steps as means: the loss over steps, the others over examples."""
    examples = count * self.setup.learner.batch_size
    return {n: float(v / (count if n == "loss" else examples)) for n, v in sums.items()}

  def _log_training(self, images_per_second: float) -> None:
    position = self.position
    means = self._means(position.sums, position.step - position.logged)
    rate = float(self.setup.learning_rate(position.step - 1))
    self._write("train", images_per_second, **means, learning_rate=rate)
    position.logged, position.sums = position.step, {}

  def _write(self, split: str, images_per_second: float, **values: float) -> None:
    position, examples = self.position, self.setup.dataset.train_examples
    timing = {"images_per_second": images_per_second}
    epoch = position.step * self.setup.learner.batch_size / examples
    row = {"step": position.step, "split": split, "epoch": epoch, **values, "timing": timing}
    with self.lookout.busy("writing metrics"):
      self.record.write(row)

  def measure(self) -> None:
    """Evaluates and saves where the position asks for it."""
    position, durations = self.position, self.setup.durations
    last = position.step == durations.steps
    due = position.step and (position.step % durations.eval_every == 0 or last)
    best = due and position.evaluated != position.step and self._evaluate()
    with self.lookout.busy("saving a checkpoint"):
      if position.step and (position.step % durations.checkpoint_every == 0 or last or best):
        self.record.save(self.state, position)
      else:
        self.record.retry(self.state, position)

  def _evaluate(self) -> bool:
    """Tests the network; returns whether its headline is the best so far."""
    begin, position, task = time.monotonic(), self.position, self.setup.learner.task
    self.evaluated = found = self._test()
    logged = {metric.name for metric in task.logged}
    values = {name: value for name, value in found.metrics.items() if name in logged}
    for value in values.values():
      if not math.isfinite(value):
        self._diverged(position.step, value)
    rate = found.examples / (time.monotonic() - begin)
    position.evaluated, position.headline = position.step, values[task.headline.name]
    self._write("test", rate, **values)
    self.progress.message(f"step {position.step}: test {in_words(task.logged, values)}")
    if best := task.headline.better(position.headline, position.best):
      position.best, position.best_step = position.headline, position.step
    self.record.draw_if_due()
    return best

  def _test(self) -> evaluation.Evaluation:
    """Evaluates the network on the test split."""
    groups = evaluation.groups(self.here, warn=self.progress.warn)
    groups = self.lookout.each(groups, "reading test examples")
    variables = mesh.local(self.state.variables)
    with self.kept():
      found = evaluation.evaluate(self.here, variables, groups, lambda: self.stop.received)
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

  def finish(self) -> dict[str, Any]:
    """Sees all that the run leaves on the disk; returns its result."""
    step, headline = self.position.step, self.setup.learner.task.headline
    processes.lead(lambda: self.record.secure(self.state, self.position))
    if not processes.lead(lambda: self.record.has_predictions(step)):
      found = self.evaluated or self._test()  # or an earlier start evaluated it
      self.record.write_predictions(found, step)
    self.record.close()
    if self.profile:
      self.progress.message("no trace was recorded: too few steps were left")
    if self.setup.durations.steps % self.setup.durations.log_every:
      self.progress.message("the last steps are fewer than log_every and stand in no row")
    result = self._result("done")
    self.record.draw()
    last, best = (headline.text(result[f"{kind}test_{headline.name}"]) for kind in ("", "best_"))
    self.progress.message(
      f"{'done' if self._warm else 'done already'}: test {headline.title} {last}, best {best} at "
      f"step {self.position.best_step}; {self.path / 'result.json'}"
    )
    return result
