"""Training on CIFAR-10 through the real loop, data included, against PyTorch and the bare step.

    python benchmarks/epoch.py                                  # ResNet-20, batch 128
    python benchmarks/epoch.py --net=resnet110 --steps=100
    python benchmarks/epoch.py --net=resnet110 --dtype=bfloat16 --steps=4000        # a GPU

loop       python -m resnet_jax.main on CIFAR-10: order, crops and flips, metrics, a checkpoint
step       the same step in dispatches of the loop's length, on made-up images: the raw rate
peer       a plain PyTorch script with a DataLoader of two workers that crop and flip

Each is timed over the same number of steps, start-up and evaluation apart, in turns. CIFAR-10 is
found, or prepared, as by resnet_jax.main (TFDS_DATA_DIR).
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import common

LOG_EVERY = 20
WARM_UP = 40  # steps that are not timed: they compile, find how many make two seconds, write a row


def loop(given: argparse.Namespace, spec: str) -> float:
  """Seconds a step of the real loop, between two of its rows: a dispatch ends where a row does."""
  with tempfile.TemporaryDirectory() as workdir:
    flags = {
      "train.steps": WARM_UP + given.steps,
      "train.log_every": LOG_EVERY,
      "train.eval_every": WARM_UP + given.steps,
      "train.checkpoint_every": WARM_UP + given.steps // 2,
      "data.batch_size": given.batch,
      "data.test_split": "test[:512]",
      "model.dtype": given.dtype,
    }
    subprocess.run(
      [sys.executable, "-m", "resnet_jax.main", f"--config={spec}", f"--workdir={workdir}"]
      + [f"--config.{key}={value}" for key, value in flags.items()],
      cwd=common.ROOT,
      check=True,
      stdout=subprocess.DEVNULL,
    )
    rows = map(json.loads, (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines())
    ends = {row["step"]: row["timing"]["seconds"] for row in rows if row["split"] == "train"}
  return (ends[WARM_UP + given.steps] - ends[WARM_UP]) / given.steps


def child(given: dict[str, Any]) -> None:
  """The bare step or the peer, ready to take steps when told."""
  import ours

  from resnet_jax.training.feed import MOST
  from resnet_jax.training.train import DISPATCH_SECONDS

  spec, size = common.NETS[given["net"]]
  config = ours.config(spec, {"dtype": given["dtype"]})
  if given["way"] == "step":
    trainer = ours.Trainer(config, size, given["batch"])
    trainer.steps(1)
    begin = time.perf_counter()
    trainer.steps(2)
    count = int(DISPATCH_SECONDS / ((time.perf_counter() - begin) / 2))
    count = max(1, min(count, MOST, given["steps"]))
    whole, rest = divmod(given["steps"], count)
    common.serve({}, lambda _: [trainer.steps(n) for n in [count] * whole + [rest] * (rest > 0)])
    return
  peer_steps = peer_trainer(config, given)
  common.serve({}, lambda _: peer_steps(given["steps"]))


def peer_trainer(config: Any, given: dict[str, Any]) -> Callable[[int], None]:
  """What takes so many steps as a plain PyTorch script does, epoch after epoch."""
  import numpy as np
  import peer
  import torch

  from resnet_jax import data
  from resnet_jax.models.resnet import units_per_stage

  split = data.load(config.data).train
  mean = np.float32(split.images.mean(0) / 255)

  class Cifar(torch.utils.data.Dataset):
    def __len__(self):
      return len(split.targets)

    def __getitem__(self, index):
      image = np.pad(np.float32(split.images[index]) / 255 - mean, ((4, 4), (4, 4), (0, 0)))
      top, left, flip = (int(torch.randint(n, ())) for n in (9, 9, 2))
      image = image[top : top + 32, left : left + 32][:, :: -1 if flip else 1]
      return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), split.targets[index]

  net = peer.Net(config.model, units_per_stage(config.model), 3, 10)
  trainer = peer.Trainer(given["peer"], net, 32, given["batch"])
  loader = torch.utils.data.DataLoader(
    Cifar(),
    given["batch"],
    shuffle=True,
    num_workers=2,
    pin_memory=trainer.device.type == "cuda",
    persistent_workers=True,
    drop_last=True,
  )

  def batches():
    while True:
      yield from loader

  def steps(count: int) -> None:
    for images, labels in itertools.islice(endless, count):
      images = images.to(trainer.device, memory_format=trainer.layout, non_blocking=True)
      trainer.step(images, labels.long().to(trainer.device, non_blocking=True))
    trainer.wait()

  endless = batches()
  trainer.steps(3)
  steps(3)
  return steps


def main() -> None:
  """Times the three in turns and prints their rates."""
  parser = common.parser(__doc__, repeats=3)
  parser.add_argument("--net", default="resnet20", help=", ".join(common.NETS))
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument("--steps", type=int, default=60, help="of one measurement")
  parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
  parser.add_argument("--peer", default="channels_last", help="a way of step.py")
  given = parser.parse_args()
  (net,) = common.known_nets(given.net)
  found: dict[str, list[float]] = {"loop": [], "step": [], "peer": []}
  for _ in range(given.repeats):
    found["loop"].append(loop(given, common.NETS[net][0]))
    for way in ("step", "peer"):
      process = common.Child(__file__, vars(given) | {"way": way, "json": None, "net": net})
      with common.children({way: process}):
        process.begin()
        found[way].append(process.seconds() / given.steps)
  bare = statistics.median(found["step"])
  rows = [
    [
      way,
      common.spread(seconds, scale=1e3),
      f"{given.batch / statistics.median(seconds):.0f}",
      f"{bare / statistics.median(seconds):.3f}",
    ]
    for way, seconds in found.items()
  ]
  title = f"{net}, batch {given.batch}, {given.dtype}: {given.repeats} x {given.steps} steps"
  common.table(title, ["", "ms a step", "images/s", "rate, of the bare step's"], rows)
  common.write(given, found)


if __name__ == "__main__":
  arguments = common.arguments()
  child(arguments) if arguments else main()
