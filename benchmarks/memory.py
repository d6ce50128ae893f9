"""The memory of a training step by depth, batch and rematerialization, as the compiler plans it.

    python benchmarks/memory.py                            # pre-activation nets at 32x32
    python benchmarks/memory.py --nets=preact1001 --batch=128,256
    python benchmarks/memory.py --nets=preact200 --batch=256 --dtype=bfloat16

Nothing of that size is allocated or run: the step is compiled for this machine's device, and a
cell is its peak, arguments, results and temporaries, the shared ones counted once. The ratio is to
remat=none, which keeps all that the derivative asks for. What the three take in time is measured by
step.py (`ours:remat=unit`).
"""

import json
import os
import subprocess
import sys
from typing import Any

import common

REMAT = ("none", "norm", "unit")


def child(given: dict[str, Any]) -> None:
  """Prints the peak in bytes of one net's step."""
  import jax
  import numpy as np
  import ours

  from resnet_jax.training import compilation, steps

  spec, size = common.NETS[given["net"]]
  config = ours.config(spec, {"remat": given["remat"], "dtype": given["dtype"]})
  learner = ours.learner(config, given["batch"])
  state = jax.eval_shape(lambda: steps.init(learner, (size, size, 3)))
  dispatch = jax.jit(steps.dispatch(learner, 16), donate_argnums=0)
  compiled = dispatch.lower(state, ours.examples(size), np.int32(1)).compile()
  print(compilation.planned_bytes(compiled))


def peak(net: str, batch: int, remat: str, dtype: str) -> int:
  """Bytes at the peak of one training step."""
  given = json.dumps({"net": net, "batch": batch, "remat": remat, "dtype": dtype})
  done = subprocess.run(
    [sys.executable, __file__, "--child", given],
    stdout=subprocess.PIPE,
    env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    check=True,
  )
  return int(done.stdout)


def main() -> None:
  """Compiles every net at every batch in every way and prints one table."""
  parser = common.parser(__doc__, repeats=None)
  parser.add_argument("--nets", default="preact164,preact1001", help=", ".join(common.NETS))
  parser.add_argument("--batch", default="32,128")
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  given = parser.parse_args()
  rows, found = [], {}
  for net in common.known_nets(given.nets):
    for batch in map(int, common.words(given.batch)):
      bytes_by_way = {remat: peak(net, batch, remat, given.dtype) for remat in REMAT}
      found[f"{net}, batch {batch}"] = bytes_by_way
      row = [net, str(batch)]
      for taken in bytes_by_way.values():
        row.append(f"{taken / 2**30:.2f} ({taken / bytes_by_way['none']:.2f})")
      rows.append(row)
  headings = ["net", "batch", *(f"remat={remat}" for remat in REMAT)]
  common.table(f"peak of a training step in GiB (ratio), {given.dtype}", headings, rows)
  common.write(given, found)


if __name__ == "__main__":
  arguments = common.arguments()
  child(arguments) if arguments else main()
