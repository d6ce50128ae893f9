"""The training step and inference, ours against PyTorch in the ways that it offers.

    python benchmarks/step.py                                          # on a CPU: half an hour
    python benchmarks/step.py --nets=preact164 --ways=ours,eager,channels_last
    python benchmarks/step.py --nets=preact1001 --batch=16 --ways="ours:remat=none,ours:remat=unit"
    python benchmarks/step.py --nets=resnet50 --batch=256 --dtype=bfloat16       # a GPU

Ours takes its images from memory, normalizes, crops and flips them within the step; PyTorch gets
one batch that is ready. `ours:remat=unit;unroll=2` sets values of config.model. All ways of a net
run in one tree of processes, in turns on a CPU, one after another on a GPU, and must have the same
number of parameters.

A cell is the median (least to most) of the milliseconds a step takes; the ratio is PyTorch's best
over it. The floor is what arithmetic or memory traffic alone would take at the rates that a large
product and a large copy reach here: 6 FLOP a multiply-add and image; each layer's output written
and read once forward, it and its gradient read, and the gradient written, once backward.
"""

import argparse
import importlib.util
import math
import statistics
import sys
from typing import Any

import common

TORCH = ("eager", "channels_last", "channels_last+compile")


def child(given: dict[str, Any]) -> None:
  """Builds one net in one way, and times what it is told: train or infer."""
  import ours

  if "nets" in given:
    import peer

    work = {net: least_work(net, given["batch"], given["dtype"]) for net in given["nets"]}
    return common.serve({"rates": peer.rates(given["dtype"]), "work": work}, lambda what: None)
  spec, size = common.NETS[given["net"]]
  way, _, settings = given["way"].partition(":")
  config = ours.config(spec, dict(pair.split("=") for pair in common.words(settings, ";")))
  config.model.dtype = given["dtype"]
  if way == "ours":
    trainer: Any = ours.Trainer(config, size, given["batch"])
  else:
    import peer

    from resnet_jax.models.resnet import units_per_stage

    net = peer.Net(config.model, units_per_stage(config.model), 3, 10)
    trainer = peer.Trainer(way, net, size, given["batch"])
  for _ in range(2):
    trainer.steps(1)
  trainer.infer(1)
  call = {"train": trainer.steps, "infer": trainer.infer}
  common.serve({"parameters": trainer.parameters}, lambda what: call[what](given["steps"]))


def least_work(net: str, batch: int, dtype: str) -> tuple[float, float]:
  """FLOP and bytes that one training step needs at the least."""
  import ours

  from resnet_jax import describe

  spec, size = common.NETS[net]
  found = describe.network(ours.config(spec, {}).model, (size, size, 3), 10)
  outputs = sum(math.prod(layer["output"]) for layer in found["layers"])
  itemsize = 2 if dtype == "bfloat16" else 4
  # A weight is read twice, its gradient written and read, it and its velocity read and written.
  return 6.0 * found["multiply_adds"] * batch, 5.0 * itemsize * outputs * batch + 32 * found[
    "params"
  ]


def measure(net: str, given: argparse.Namespace, gpu: bool) -> dict[str, dict[str, list[float]]]:
  """Milliseconds of a step, by way and by what is timed."""
  arguments = {"net": net, "batch": given.batch, "dtype": given.dtype, "steps": given.steps}
  amp = "+amp" if given.dtype == "bfloat16" else ""
  ways = {way: way if way.startswith("ours") else way + amp for way in common.words(given.ways)}
  found: dict[str, dict[str, list[float]]] = {way: {"train": [], "infer": []} for way in ways}
  parameters = set()
  for together in [[way] for way in ways] if gpu else [list(ways)]:
    started = {
      way: common.Child(__file__, arguments | {"way": ways[way].removeprefix("eager+")})
      for way in together
    }
    try:
      with common.children(started) as about:
        parameters |= {one["parameters"] for one in about.values()}
        for _ in range(given.repeats):
          for what in ("train", "infer"):
            for way, process in started.items():
              process.begin(what)
              found[way][what].append(1e3 * process.seconds() / given.steps)
    except common.Ended as error:
      print(f"{net}: {', '.join(together)}: {error}", file=sys.stderr)
      found = {way: times for way, times in found.items() if way not in together}
  if not found:
    raise SystemExit(f"{net}: no way has run")
  if len(parameters) != 1:
    raise SystemExit(f"{net}: the ways differ in their number of parameters: {sorted(parameters)}")
  return found


def main() -> None:
  """Measures every net and prints a table of each."""
  parser = common.parser(__doc__)
  parser.add_argument("--nets", default="resnet20,resnet110,preact164", help=", ".join(common.NETS))
  parser.add_argument("--ways", default="ours," + ",".join(TORCH))
  parser.add_argument("--batch", type=int, default=32)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--steps", type=int, default=4, help="of one measurement, in one dispatch")
  given = parser.parse_args()
  if not importlib.util.find_spec("torch"):
    raise SystemExit("error: this compares with PyTorch: pip install -e '.[torch]'")
  nets, gpu = common.known_nets(given.nets), bool(common.machine()["gpu"])
  asked = {"nets": nets, "batch": given.batch, "dtype": given.dtype}
  with common.children({"floor": common.Child(__file__, asked)}) as about:
    flops, bandwidth = about["floor"]["rates"]
    work = about["floor"]["work"]
  print(f"a large product: {flops / 1e9:.0f} GFLOP/s; a large copy: {bandwidth / 1e9:.1f} GB/s")
  results = {}
  for net in nets:
    floors = {"FLOP": 1e3 * work[net][0] / flops, "bytes": 1e3 * work[net][1] / bandwidth}
    results[net] = {"milliseconds": measure(net, given, gpu), "floors": floors}
    show(net, given, **results[net])
  common.write(given, results)


def show(net: str, given: argparse.Namespace, milliseconds: dict, floors: dict) -> None:
  """Prints one net's table."""
  medians = {
    way: {what: statistics.median(times) for what, times in found.items()}
    for way, found in milliseconds.items()
  }
  peers = [found for way, found in medians.items() if not way.startswith("ours")]
  bound = max(floors, key=floors.__getitem__)
  rows = []
  for way, found in milliseconds.items():
    row = [way]
    for what, times in found.items():
      best = [other[what] for other in peers]
      row += [common.spread(times), f"{min(best) / medians[way][what]:.2f}" if best else "-"]
    train = medians[way]["train"]
    rows.append([*row, f"{1e3 * given.batch / train:.0f}", f"{train / floors[bound]:.1f}"])
  common.table(
    f"{net}, batch {given.batch}, {given.dtype}: ms a step, {given.repeats} x {given.steps} steps; "
    f"floor {floors[bound]:.1f} ms ({bound})",
    ["", "training", "ratio", "inference", "ratio", "images/s", "over floor"],
    rows,
  )


if __name__ == "__main__":
  arguments = common.arguments()
  child(arguments) if arguments else main()
