"""The training step on 1, 2, 4 and 8 devices: one batch shared, and a batch each.

    python benchmarks/scaling.py                                        # all devices there are
    python benchmarks/scaling.py --net=preact164 --batch=128 --dtype=bfloat16
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python benchmarks/scaling.py  # two cores

strong     the batch is spread over the devices; ideal is as many times the images/s as devices
weak       every device has a batch of that size; ideal is the same
Each cell is the median of the images/s (least to most) and the share of the ideal it reaches.
"""

import statistics
import time

import common


def images_per_second(config, size: int, batch: int, devices: int, steps: int) -> float:
  """The rate of one measurement, compilation apart."""
  import jax
  import numpy as np
  import ours

  from resnet_jax.distributed import mesh as mesh_lib
  from resnet_jax.training import steps as steps_lib

  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("data",))
  learner = ours.learner(config, batch, mesh_lib.batched(mesh))
  everywhere = mesh_lib.replicated(mesh)
  init = jax.jit(lambda: steps_lib.init(learner, (size, size, 3)), out_shardings=everywhere)
  state, examples = init(), jax.device_put(ours.examples(size), everywhere)
  dispatch = jax.jit(steps_lib.dispatch(learner, steps), donate_argnums=0)
  for count in (1, steps):
    begin = time.perf_counter()
    state, _ = jax.block_until_ready(dispatch(state, examples, np.int32(count)))
  return batch * steps / (time.perf_counter() - begin)


def main() -> None:
  """Measures every number of devices and prints the table."""
  parser = common.parser(__doc__, repeats=3)
  parser.add_argument("--net", default="resnet110", help=", ".join(common.NETS))
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--steps", type=int, default=4, help="of one measurement")
  given = parser.parse_args()
  import jax
  import ours

  (net,) = common.known_nets(given.net)
  spec, size = common.NETS[net]
  config = ours.config(spec, {"dtype": given.dtype})
  counts = [count for count in (1, 2, 4, 8) if count <= jax.device_count()]
  found: dict[str, dict[int, list[float]]] = {"strong": {}, "weak": {}}
  for _ in range(given.repeats):
    for count in counts:
      for way, batch in (("strong", given.batch), ("weak", given.batch * count)):
        rate = images_per_second(config, size, batch, count, given.steps)
        found[way].setdefault(count, []).append(rate)
  rows = []
  for count in counts:
    row = [str(count)]
    for rates in found.values():
      ideal = count * statistics.median(rates[1])
      row.append(f"{common.spread(rates[count])}, {statistics.median(rates[count]) / ideal:.2f}")
    rows.append(row)
  title = f"{net}, batch {given.batch}, {given.dtype}: images/s, share of the ideal"
  common.table(title, ["devices", *found], rows)
  common.write(given, found)


if __name__ == "__main__":
  main()
