"""Photographs from disk to batches of crops, against a PyTorch DataLoader with Pillow.

    python benchmarks/photos.py --photos=/data/imagenet/train      # a folder of <label>/*

ours       resnet_jax.data.photos: files, order, decoding, crops, batches of uint8 [B, 224, 224, 3]
usual      a DataLoader with the usual transforms on Pillow: RandomResizedCrop for scale_aspect,
           Resize and RandomCrop for scale, flip, uint8 tensors
tuned      the same with the best that Pillow has: draft, resize(box=), reducing_gap

A worker process a core each, in turns on the same machine, endless epochs in random order, start-up
apart. The files should be in the page cache: what is timed is decoding, not the disk.
"""

import argparse
import io
import itertools
import math
import os
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import common

SIZE = 224
CROPS = ("scale", "scale_aspect")
WAYS = ("ours", "usual", "tuned")


def source(photos: str) -> Any:
  """The folder as a source of ours."""
  from resnet_jax.config import default_config
  from resnet_jax.data.photos import sources

  folder = pathlib.Path(photos).resolve()
  config = default_config().data
  split = {"train_split": folder.name, "test_split": folder.name}
  config.update({"name": "folder", "dir": str(folder.parent)} | split)
  return sources.load(config)[0]


def ours(given: dict[str, Any]) -> Iterator[Any]:
  """Batches of ours."""
  from resnet_jax.data.photos import pipeline

  return pipeline.training(
    source(given["photos"]),
    batch_size=given["batch"],
    image_size=SIZE,
    crop=given["crop"],
    flip=True,
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
  box, _ = crops.draw(crop, False, height, width, SIZE, rng)
  left, top, right, bottom = box
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
    self.files = [(found.name(i), found[i][1]) for i in range(len(found))]

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> tuple[Any, int]:
    import numpy as np
    import torch
    from PIL import Image

    path, label = self.files[index]
    image = self.transform(pathlib.Path(path).read_bytes(), self.crop)
    if random.random() < 0.5:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous(), label


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
  common.serve({"first": first}, lambda count: [*itertools.islice(batches, int(count))][:0])


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
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with common.children(started) as about:
      for _, way in itertools.product(range(given.repeats), WAYS):
        for count in (4 * cores, given.batches):
          started[way].begin(str(count))
          last = started[way].seconds()
        seconds[way].append(last / given.batches)
    found[crop] = {"seconds a batch": seconds, "about": about}
  report(given, found, cores)


def report(given: argparse.Namespace, found: dict[str, Any], cores: int) -> None:
  """Prints a row for each crop and way, and writes the measurements."""
  rows = []
  for crop, measured in found.items():
    seconds = measured["seconds a batch"]
    ours_median = statistics.median(seconds["ours"])
    for way in WAYS:
      rates = [given.batch / value / cores for value in seconds[way]]
      ratio = statistics.median(seconds[way]) / ours_median
      first = f"{measured['about'][way]['first']:.1f}"
      rows.append([f"{crop}, {way}", common.spread(rates, 0), f"{ratio:.2f}", first])
  photos = source(given.photos)
  given.photos = f"{len(photos)} photographs, {sum(len(data) for data, _ in photos)} bytes"
  headings = ["", "images/s and core", "ours against it", "first batch, s"]
  common.table(f"{given.photos}; {cores} workers, batch {given.batch}", headings, rows)
  common.write(given, found)


if __name__ == "__main__":
  arguments = common.arguments()
  child(arguments) if arguments else main()
