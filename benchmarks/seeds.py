"""How several seeds of one net train fastest: one after another, side by side, or as one program.

    python benchmarks/seeds.py                      # ResNet-110 on 8x8 digits, batch 16
    python benchmarks/seeds.py --config=configs/resnet.py:depth=110 --steps=20   # CIFAR-10

alone       one seed, all cores or the whole GPU
processes   a process for each seed; on a CPU each has its share of the cores
vmap        one program, the seeds as a leading axis of the parameters
map         one program, the seeds one after another

Each line is the median over repetitions of the seconds that one step of one seed takes, in the
same run of this script, and its ratio to `alone`. That all give the same training is a test
(tests/test_steps.py).
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def child(way: str, config: str, seeds: int, steps: int, repeats: int, cores: list[int]) -> None:
  """Trains in one way and prints the seconds a step of one seed took, once a repetition."""
  if cores:
    os.sched_setaffinity(0, cores)
  import jax
  import numpy as np

  from resnet_jax import compilation, setup
  from resnet_jax import config as config_lib
  from resnet_jax import steps as steps_lib

  compilation.use_cache()
  run = setup.setup(config_lib.load_file(config))
  shape = run.dataset.info.shape
  task = lambda seed: dataclasses.replace(run.task, seed=seed, batch_sharding=None)
  init = lambda seed: steps_lib.init(task(seed), shape)
  train = lambda seed, state, count: steps_lib.dispatch(task(seed), steps)(state, run.train, count)
  if way == "vmap":
    init, train = jax.vmap(init), jax.vmap(train, (0, 0, None))
  elif way == "map":
    one_init, one_train = init, train
    init = lambda all_seeds: jax.lax.map(one_init, all_seeds)
    train = lambda all_seeds, states, count: jax.lax.map(
      lambda pair: one_train(*pair, count), (all_seeds, states)
    )
  numbers = np.arange(seeds) if way in ("vmap", "map") else 0
  states, dispatch = jax.jit(init)(numbers), jax.jit(train)
  for _ in range(2):
    states, _ = jax.block_until_ready(dispatch(numbers, states, np.int32(1)))
  print("ready", flush=True)
  for _ in range(repeats):
    sys.stdin.readline()  # all processes begin together
    begin = time.perf_counter()
    jax.block_until_ready(dispatch(numbers, states, np.int32(steps)))
    print(time.perf_counter() - begin, flush=True)


def measure(way: str, arguments: argparse.Namespace) -> list[float]:
  """Seconds for a step of one seed, once a repetition."""
  cores = sorted(os.sched_getaffinity(0))
  seeds = 1 if way == "alone" else arguments.seeds
  count = seeds if way == "processes" else 1
  share = [cores[i * len(cores) // count : (i + 1) * len(cores) // count] for i in range(count)]
  share = [mine or [cores[i % len(cores)]] for i, mine in enumerate(share)]
  numbers = map(str, (seeds, arguments.steps, arguments.repeats))
  flags = ["--child", way, arguments.config, *numbers]
  environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
  processes = [
    subprocess.Popen(
      [sys.executable, __file__, *flags, ",".join(map(str, mine))],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=environment,
    )
    for mine in share
  ]
  seconds = []
  for process in processes:
    assert process.stdout.readline() == "ready\n"
  for _ in range(arguments.repeats):
    for process in processes:
      process.stdin.write("\n")
      process.stdin.flush()
    seconds.append(max(float(process.stdout.readline()) for process in processes))
  for process in processes:
    process.communicate()
  return [taken / arguments.steps / seeds for taken in seconds]


def main() -> None:
  """Measures every way and prints them as ratios."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="configs/resnet.py:depth=110,digits")
  parser.add_argument("--seeds", type=int, default=2, help="as many as there are cores, or more")
  parser.add_argument("--steps", type=int, default=40, help="in one repetition")
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--json", type=pathlib.Path, help="where to write what was measured")
  arguments = parser.parse_args()
  found = {way: measure(way, arguments) for way in ("alone", "processes", "vmap", "map")}
  base = statistics.median(found["alone"])
  print(f"{arguments.config}, {arguments.seeds} seeds")
  for way, seconds in found.items():
    middle = statistics.median(seconds)
    print(
      f"{way:10} {1e3 * middle:8.1f} ms a step of one seed ({1e3 * min(seconds):.1f} to "
      f"{1e3 * max(seconds):.1f}), {base / middle:.2f} times as fast as alone"
    )
  if arguments.json:
    arguments.json.write_text(json.dumps(vars(arguments) | {"seconds": found}, default=str) + "\n")


if __name__ == "__main__":
  if sys.argv[1:2] == ["--child"]:
    way, config, seeds, steps, repeats, cores = sys.argv[2:]
    numbers = map(int, (seeds, steps, repeats))
    child(way, config, *numbers, [int(core) for core in cores.split(",") if core])
  else:
    main()
