"""Photographs from disk to batches of crops, against a PyTorch DataLoader with Pillow.

    python benchmarks/photos.py --photos=/data/imagenet/train      # a folder of <label>/*

ours       resnet_jax.data.photos: files, order, decoding, crops, batches of uint8 [B, 224, 224, 3]
usual      a DataLoader with the usual transforms on Pillow: RandomResizedCrop for scale_aspect,
           Resize and RandomCrop for scale, uint8 tensors (ours mirrors within the step)
tuned      the same with the best that Pillow has: draft, resize(box=), reducing_gap

A worker process a core each, in turns on the same machine, endless epochs in random order, start-up
apart. The files should be in the page cache: what is timed is decoding, not the disk. Beside the
time on the clock stands that of the processors, of all processes of a way: what else the machine
does changes it little.
"""

import argparse
import io
import itertools
import json
import math
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import common

SIZE = 224
EXAMPLES = 20_000  # at least, the same photographs again and again
REST = 3.0  # seconds before a turn, in which the one before fills what it keeps ahead
CROPS = ("scale", "scale_aspect")
WAYS = ("ours", "usual", "tuned")


def source(photos: str) -> Any:
  """The folder as a source of ours, over and over: shuffling is slower for very few examples."""
  from resnet_jax.config import default_config
  from resnet_jax.data.photos import sources

  files = sorted(path for path in pathlib.Path(photos).resolve().glob("*/*") if path.is_file())
  lines = [f"{path} {path.parent.name}\n" for path in files]
  with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "train.txt").write_text("".join(lines * -(-EXAMPLES // len(lines))))
    config = default_config().data
    config.update({"name": "list", "dir": folder, "test_split": "train"})
    return sources.load(config)[0]


def ours(given: dict[str, Any]) -> Iterator[Any]:
  """Batches of ours."""
  from resnet_jax.data.photos import pipeline

  return pipeline.training(
    source(given["photos"]),
    batch_size=given["batch"],
    image_size=SIZE,
    crop=given["crop"],
    seed=0,
    workers=given["workers"],
  )


def usual(data: bytes, crop: str) -> Any:
  """The usual transforms: decode everything, then crop and resize, or resize and crop."""
  import numpy as np
  from PIL import Image

  from resnet_jax.data.photos import crops

  image = Image.open(io.BytesIO(data)).convert("RGB")
  width, height = image.size
  if crop == "scale":
    factor = random.randint(256, 480) / min(width, height)
    width, height = math.floor(width * factor), math.floor(height * factor)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = random.randint(0, width - SIZE), random.randint(0, height - SIZE)
    image = image.crop((left, top, left + SIZE, top + SIZE))
  else:
    box = crops.scale_aspect(height, width, SIZE, np.random.default_rng(random.getrandbits(32)))
    image = image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
  return image


def tuned(data: bytes, crop: str) -> Any:
  """Decode at a fraction where that does, and resize the box alone."""
  import numpy as np
  from PIL import Image

  from resnet_jax.data.photos import crops

  image = Image.open(io.BytesIO(data))
  width, height = image.size
  rng = np.random.default_rng(random.getrandbits(32))
  left, top, right, bottom = crops.draw(crop, height, width, SIZE, rng)
  image.draft("RGB", (width * SIZE // (right - left) + 1, height * SIZE // (bottom - top) + 1))
  if image.mode != "RGB":
    image = image.convert("RGB")
  x, y = image.width / width, image.height / height
  box = (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))
  return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


class Photos:
  """A PyTorch data set of files and one of the transforms above."""

  def __init__(self, given: dict[str, Any]):
    self.crop = given["crop"]
    self.transform = usual if given["way"] == "usual" else tuned
    found = source(given["photos"])
    self.files = [found.name(i) for i in range(len(found))]

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> tuple[Any, int]:
    import numpy as np
    import torch

    image = self.transform(pathlib.Path(self.files[index]).read_bytes(), self.crop)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous(), index


def peer(given: dict[str, Any]) -> Iterator[Any]:
  """Batches of the DataLoader, without end."""
  import torch

  photos = Photos(given)
  endless = torch.utils.data.RandomSampler(photos, replacement=True, num_samples=10**9)
  return iter(
    torch.utils.data.DataLoader(
      photos, given["batch"], sampler=endless, num_workers=given["workers"]
    )
  )


def child(given: dict[str, Any]) -> None:
  """One way, ready to make so many batches when told; those made ahead are dropped first."""
  make: Callable[[dict[str, Any]], Iterator[Any]] = ours if given["way"] == "ours" else peer
  begin = time.perf_counter()
  batches = make(given)
  next(batches)
  first = time.perf_counter() - begin
  print(json.dumps({"first": first}), flush=True)
  for line in sys.stdin:
    before = time.perf_counter(), processor_seconds()
    for _ in itertools.islice(batches, int(line)):
      pass
    after = time.perf_counter(), processor_seconds()
    print(*(end - begin for begin, end in zip(before, after, strict=True)), sep="\n", flush=True)


def processor_seconds() -> float:
  """Of this process and of its workers, where /proc knows them."""
  total = time.process_time()
  for task in pathlib.Path("/proc/self/task").glob("*/children"):
    for child in task.read_text().split():
      fields = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")")[-1].split()
      total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
  return total


def main() -> None:
  """Times the three in turns and prints their rates."""
  parser = common.parser(__doc__)
  parser.add_argument("--photos", default=os.environ.get("PHOTOS"), help="or PHOTOS in the shell")
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument("--batches", type=int, default=16, help="of one measurement")
  given = parser.parse_args()
  if not given.photos or not pathlib.Path(given.photos).is_dir():
    raise SystemExit("error: --photos must be a folder with a folder of photographs a label")
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  found: dict[str, Any] = {}
  for crop in CROPS:
    more = {"crop": crop, "json": None, "workers": cores}
    started = {way: common.Child(__file__, vars(given) | more | {"way": way}) for way in WAYS}
    clock: dict[str, list[float]] = {way: [] for way in WAYS}
    processors: dict[str, list[float]] = {way: [] for way in WAYS}
    with common.children(started) as about:
      for _, way in itertools.product(range(given.repeats), WAYS):
        time.sleep(REST)
        for count in (4 * cores, given.batches):
          started[way].begin(str(count))
          last = started[way].seconds(), started[way].seconds()
        clock[way].append(last[0] / given.batches)
        processors[way].append(last[1] / given.batches)
    found[crop] = {"seconds a batch": clock, "processors": processors, "about": about}
  report(given, found, cores)


def report(given: argparse.Namespace, found: dict[str, Any], cores: int) -> None:
  """Prints a row for each crop and way, and writes the measurements."""
  rows = []
  for crop, measured in found.items():
    for way in WAYS:
      row = [f"{crop}, {way}"]
      for kind, share in (("seconds a batch", cores), ("processors", 1)):
        seconds = measured[kind]
        rates = [given.batch / value / share for value in seconds[way]]
        ratio = statistics.median(seconds[way]) / statistics.median(seconds["ours"])
        row += [common.spread(rates, 0), f"{ratio:.2f}"]
      rows.append([*row, f"{measured['about'][way]['first']:.1f}"])
  files = [path for path in pathlib.Path(given.photos).glob("*/*") if path.is_file()]
  kilobytes = sum(path.stat().st_size for path in files) / len(files) / 1e3
  given.photos = f"{len(files)} photographs of {kilobytes:.0f} kB"  # not where they are
  headings = ["", "images/s and core", "ours", "images/s of processors", "ours", "first batch, s"]
  common.table(f"{given.photos}; {cores} workers, batch {given.batch}", headings, rows)
  common.write(given, found)


if __name__ == "__main__":
  arguments = common.arguments()
  child(arguments) if arguments else main()
