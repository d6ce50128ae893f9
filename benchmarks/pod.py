"""What several chips would do, on paper: bytes all-reduced a step, and the efficiency to expect.

    python benchmarks/pod.py [--json=FILE]

The all-reduces are counted in the step that XLA compiles for 8 devices, whatever these are; shares
of the peak and the number of launches of an H200 were measured on one (results/gpu); all else is a
model, whose assumptions are printed with it.

alone      3 x 2 x multiply-adds x images of a chip / (peak x its share): what one chip takes
           for the whole batch, divided by the chips
compute    that, but no less than its launches of kernels and copies take, however few the images
gradients  2 (n-1)/n x bytes / bandwidth, and a latency for each all-reduce; they may hide behind
           the computation of earlier layers
BN         a latency for each all-reduce of its statistics, forward and backward; the next layer
           waits for it, so that nothing hides it. None where norm.group_size divides the images
           of a chip, and the statistics are those of a group
efficiency alone / (compute + BN + gradients), and with the gradients hidden
"""

import os
import re
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import common


class Machine(NamedTuple):
  """Chips, and what is assumed of each."""

  name: str
  chips: int
  peak: float  # FLOP/s in bfloat16, dense, as the vendor has it
  bandwidth: float  # bytes/s of an all-reduce a chip, of the vendor's figure what is usually seen
  latency: float  # seconds of a small all-reduce over all chips
  launch: float  # seconds that a launch takes at the least, assumed


class Net(NamedTuple):
  """A net of common.NETS, and for each machine its batch and the share of the peak it reaches."""

  name: str
  batches: tuple[int, int]
  shares: tuple[float, float]  # narrow layers (16 to 64 channels) leave most of a matrix unit idle
  launches: int  # of kernels and copies, a step on an H200


MACHINES = (
  Machine("8 H200 (NVLink)", 8, 989e12, 0.8 * 450e9, 15e-6, 2e-6),
  Machine("v5e-256 (16x16 torus)", 256, 197e12, 0.8 * 100e9, 40e-6, 0.0),
)
NETS = (
  Net("resnet110", (128, 2048), (0.017, 0.05), 3517),
  Net("preact1001", (128, 2048), (0.011, 0.08), 29899),
  Net("resnet50", (256, 8192), (0.134, 0.35), 1882),
)
BATCH = 64  # of the step that is compiled; its all-reduces do not depend on it
_SIZES = {"pred": 1, "u8": 1, "s8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}


def all_reduces(hlo: str) -> list[int]:
  """The bytes of each all-reduce that a run of the program makes, those in loops as often."""
  blocks: dict[str, list[str]] = {}
  name = ""
  for line in hlo.splitlines():
    if begin := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
      name = "ENTRY" if line.startswith("ENTRY") else begin[1]
      blocks[name] = []
    elif name:
      blocks[name].append(line)

  def total(block: str) -> list[int]:
    found: list[int] = []
    for line in blocks.get(block, ()):
      if made := re.search(r"= (.*?) all-reduce(?:-start)?\(", line):
        shapes = re.findall(r"(\w+)\[([\d,]*)\]", made[1])
        found.append(sum(_SIZES[kind] * _elements(shape) for kind, shape in shapes))
      for called in re.findall(r"(?:body|to_apply|calls)=%?([\w.\-]+)", line):
        if "all-reduce" not in line:
          trips = re.search(r'known_trip_count.*?"n":"(\d+)"', line)
          found += total(called) * (int(trips[1]) if trips and " while(" in line else 1)
    return found

  return total("ENTRY")


def _elements(shape: str) -> int:
  count = 1
  for side in filter(None, shape.split(",")):
    count *= int(side)
  return count


def count(net: str, group_size: int) -> list[int]:
  """The bytes of each all-reduce of one step over 8 devices."""
  import jax
  import ours

  from resnet_jax.data.batch import take
  from resnet_jax.distributed import mesh
  from resnet_jax.training import steps

  spec, size = common.NETS[net]
  config = ours.config(spec, {})
  config.model.norm.group_size = group_size
  devices = mesh.build()
  learner, everywhere = ours.learner(config, BATCH, mesh.batched(devices)), mesh.replicated(devices)
  state = jax.eval_shape(lambda: steps.init(learner, (size, size, 3)))
  step = jax.jit(
    lambda *given: steps.train_step(learner, *given),
    in_shardings=everywhere,
    out_shardings=everywhere,
  )
  batch = take(ours.examples(size), jax.numpy.arange(BATCH))
  return all_reduces(step.lower(state, batch).compile().as_text())


def multiply_adds(net: str) -> float:
  """Of one image, forward."""
  import ours

  from resnet_jax import describe

  spec, size = common.NETS[net]
  classes = 1000 if size == 224 else 10
  found = describe.network(ours.config(spec, {}).model, (size, size, 3), classes)
  return found["multiply_adds"]


def efficiencies(net: Net, index: int, macs: float, whole, local) -> list[str]:
  """A row of a machine's table."""
  machine, batch = MACHINES[index], net.batches[index]
  alone = 6 * macs * batch / machine.chips / (machine.peak * net.shares[index])
  compute = max(alone, net.launches * machine.launch)
  wire = 2 * (machine.chips - 1) / machine.chips * sum(local) / machine.bandwidth
  gradients = wire + len(local) * machine.latency
  waiting = (len(whole) - len(local)) * machine.latency
  shares = [
    alone / (compute + waiting + gradients),
    alone / (max(compute, gradients) + waiting),
    alone / (compute + gradients),
    alone / max(compute, gradients),
  ]
  times = [f"{1000 * seconds:.2f}" for seconds in (alone, compute, gradients, waiting)]
  return [net.name, str(batch), *times, *(f"{share:.0%}" for share in shares)]


def main() -> None:
  """Counts, and prints the model."""
  given = common.parser(__doc__, repeats=None).parse_args()
  counted, rows = {}, []
  for net in NETS:
    whole, local = count(net.name, 0), count(net.name, BATCH // 8)
    counted[net] = (multiply_adds(net.name), whole, local)
    numbers = [f"{sum(local) / 1e6:.1f}", len(local), len(whole) - len(local)]
    rows.append([net.name, *map(str, numbers)])
  head = ["", "MB a step", "all-reduces of gradients", "of BN's statistics"]
  common.table("counted in the compiled step", head, rows)
  head = ["", "batch", "alone, ms", "compute", "gradients", "BN", "efficiency", "hidden"]
  head += ["local BN", "local BN, hidden"]
  for index, machine in enumerate(MACHINES):
    rows = [efficiencies(net, index, *numbers) for net, numbers in counted.items()]
    shares = ", ".join(f"{net.name} {net.shares[index]:.1%}" for net in NETS)
    common.table(
      f"{machine.name}, assumed: {machine.peak / 1e12:.0f} TFLOP/s of which {shares}; "
      f"{machine.bandwidth / 1e9:.0f} GB/s a chip, {1e6 * machine.latency:.0f} us an all-reduce, "
      f"{1e6 * machine.launch:.0f} us a launch",
      head,
      rows,
    )
  common.write(
    given, {net.name: [macs, whole, local] for net, (macs, whole, local) in counted.items()}
  )


if __name__ == "__main__":
  main()
