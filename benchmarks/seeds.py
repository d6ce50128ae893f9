"""How several seeds of one net train fastest: one after another, side by side, or as one program.

    python benchmarks/seeds.py                      # ResNet-110 on 8x8 digits, batch 16
    python benchmarks/seeds.py --config=configs/resnet.py:depth=110 --steps=20   # CIFAR-10

alone       one seed, all cores or the whole GPU
processes   a process for each seed; on a CPU each has its share of the cores
vmap        one program, the seeds as a leading axis of the parameters
map         one program, the seeds one after another
mesh        --seeds: one program, a virtual device for each seed (on a CPU alone)

Each line is the median over repetitions of the seconds that one step of one seed takes, in the
same run of this script, and its ratio to `alone`. That all give the same training is a test
(test_steps.py and
test_seeds.py in tests/training).
"""

import argparse
import dataclasses
import os
import statistics
from typing import Any

import common


def child(given: dict[str, Any]) -> None:
  """Trains in one way whenever told."""
  way, seeds, steps = given["way"], given["seeds"], given["steps"]
  if given["cores"]:
    os.sched_setaffinity(0, given["cores"])
  if way == "mesh":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={seeds}"
  import jax
  import numpy as np

  from resnet_jax import config as config_lib
  from resnet_jax.training import compilation, setup
  from resnet_jax.training import steps as steps_lib
  from resnet_jax.training.seeds import Together

  compilation.set_up()
  run = setup.setup(config_lib.load_file(given["config"]))
  shape, examples = run.dataset.info.shape, run.train

  def learner(seed):
    return dataclasses.replace(run.learner, seed=seed, batch_sharding=None)

  def init(seed):
    return steps_lib.init(learner(seed), shape)

  def train(seed, state, *shared):
    return steps_lib.dispatch(learner(seed), steps)(state, *shared)

  if way == "vmap":
    init, train = jax.vmap(init), jax.vmap(train, (0, 0, None, None))
  elif way == "map":
    one_init, one_train = init, train

    def init(all_seeds):
      return jax.lax.map(one_init, all_seeds)

    def train(all_seeds, states, *shared):
      return jax.lax.map(lambda pair: one_train(*pair, *shared), (all_seeds, states))

  numbers = 0 if way in ("alone", "processes") else np.arange(seeds)
  if way == "mesh":
    runs = [
      run._replace(learner=dataclasses.replace(run.learner, seed=seed)) for seed in range(seeds)
    ]
    states, together = [jax.jit(init)(seed) for seed in range(seeds)], Together(runs)
  else:
    states, dispatch = jax.jit(init)(numbers), jax.jit(train)

  def take(count: int) -> None:
    nonlocal states
    if way == "mesh":
      states = [state for state, _ in together.advance(states, [count] * seeds)]
    else:
      states, _ = dispatch(numbers, states, examples, np.int32(count))
    jax.block_until_ready(states)

  take(1)
  take(1)
  common.serve({}, lambda _: take(steps))


def measure(way: str, given: argparse.Namespace) -> list[float]:
  """Seconds for a step of one seed, once a repetition."""
  cores = sorted(os.sched_getaffinity(0))
  seeds = 1 if way == "alone" else given.seeds
  count = seeds if way == "processes" else 1
  share = [cores[i * len(cores) // count : (i + 1) * len(cores) // count] for i in range(count)]
  asked = {"way": way, "config": given.config, "seeds": seeds, "steps": given.steps}
  started = {
    str(i): common.Child(__file__, asked | {"cores": mine or [cores[i % len(cores)]]})
    for i, mine in enumerate(share)
  }
  seconds = []
  with common.children(started):
    for _ in range(given.repeats):
      for process in started.values():
        process.begin()
      seconds.append(max(process.seconds() for process in started.values()))
  return [taken / given.steps / seeds for taken in seconds]


def main() -> None:
  """Measures every way and prints them as ratios."""
  parser = common.parser(__doc__)
  parser.add_argument("--config", default="configs/resnet.py:depth=110,digits")
  parser.add_argument("--seeds", type=int, default=2, help="as many as there are cores, or more")
  parser.add_argument("--steps", type=int, default=40, help="in one repetition")
  given = parser.parse_args()
  ways = ["alone", "processes", "vmap", "map"] + ([] if common.machine()["gpu"] else ["mesh"])
  found = {way: measure(way, given) for way in ways}
  base = statistics.median(found["alone"])
  rows = [
    [way, common.spread(seconds, scale=1e3), f"{base / statistics.median(seconds):.2f}"]
    for way, seconds in found.items()
  ]
  title = f"{given.config}, {given.seeds} seeds: ms a step of one seed, and how many times as fast"
  common.table(title, ["", "ms", "as alone"], rows)
  common.write(given, found)


if __name__ == "__main__":
  arguments = common.arguments()
  child(arguments) if arguments else main()
