"""What a sweep will take: each row's size, and its time as one net's measured steps foretell it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections

from resnet_jax import describe
from resnet_jax.runs.progress import clock
from resnet_jax.sweep.plan import PlannedRun
from resnet_jax.training import feed, setup, steps

STEPS = 10  # timed at most, after the first
SECONDS = 3.0


def measure(config: ml_collections.ConfigDict) -> Callable[[ml_collections.ConfigDict, int], float]:
  """Trains the net of a config for some steps, of which nothing is kept.

  Returns:
    What foretells the seconds of a run on the same data from its config and multiply-adds.
  """
  begin = time.monotonic()
  run = setup.setup(config)
  shape = run.dataset.info.shape
  train_examples, test_examples = run.dataset.train_examples, run.dataset.test_examples
  state = jax.jit(lambda: steps.init(run.learner, shape), out_shardings=run.replicated)()
  examples = feed.build(run)
  state, _ = examples.advance(state, 1)
  start = time.monotonic() - begin
  begin, count = time.monotonic(), 0
  while count < STEPS and time.monotonic() - begin < SECONDS:
    state, _ = examples.advance(state, 1)
    count += 1
  examples.close()
  step = (time.monotonic() - begin) / count
  size = 3 * describe.describe(config)["multiply_adds"] * config.data.batch_size

  def seconds(config: ml_collections.ConfigDict, multiply_adds: int) -> float:
    """Training an image takes three times the multiply-adds of evaluating it."""
    durations, _ = setup.plan(config, train_examples)
    images = 3 * durations.steps * config.data.batch_size
    images += -(-durations.steps // durations.eval_every) * test_examples
    return start + images * multiply_adds * (step / size)

  return seconds


def to_text(configs: Mapping[PlannedRun, ml_collections.ConfigDict], jobs: int) -> str:
  """The rows of these runs as a table, and the time of all of them, so many at a time."""
  from rich.console import Console
  from rich.table import Table

  first = next(iter(configs))
  seconds = measure(configs[first])
  table = Table("row")
  for heading in ("depth", "parameters", "multiply-adds", "seeds", "a run takes"):
    table.add_column(heading, justify="right")
  times: list[float] = []
  for row in dict.fromkeys(run.row for run in configs):
    ours = [config for run, config in configs.items() if run.row == row]
    found: dict[str, Any] = describe.describe(ours[0])
    times += [seconds(ours[0], found["multiply_adds"])] * len(ours)
    sizes = (f"{found[key]:,}" for key in ("depth", "params", "multiply_adds"))
    table.add_row(row.title, *sizes, str(len(ours)), "~" + clock(times[-1]))
  console = Console(width=110)
  with console.capture() as captured:
    console.print(table)
  whole = max(sum(times) / jobs, max(times))
  return captured.get() + (
    f"{len(configs)} runs, {jobs} at a time: about {clock(whole)}, as foretold by "
    f"the steps of {first.row.title!r}, measured here, and the others' multiply-adds"
  )
