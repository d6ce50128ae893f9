"""Photographs that the tests make, and the reference that decoding is measured against."""

import io

import numpy as np
from PIL import Image


def pixels(height, width, seed=0, cell=16):
  """A smooth picture with an edge, uint8 [H, W, 3]: what JPEG is made for."""
  random = np.random.default_rng(seed)
  coarse = random.integers(0, 256, (height // cell + 2, width // cell + 2, 3), np.uint8)
  smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
  picture = np.array(smooth)
  picture[height // 3 : height // 2, width // 4 : width // 2] = random.integers(0, 256, 3)
  return picture


def encoded(height=60, width=80, seed=0, kind="JPEG", mode="RGB", cell=16, **settings):
  file = io.BytesIO()
  Image.fromarray(pixels(height, width, seed, cell)).convert(mode).save(file, kind, **settings)
  return file.getvalue()


def pillow(data):
  return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def torchvision_center(data, shorter, size):
  """Resize(shorter) and CenterCrop(size), written from their documentation."""
  image = Image.open(io.BytesIO(data)).convert("RGB")
  width, height = image.size
  low = min(width, height)
  image = image.resize((int(shorter * width / low), int(shorter * height / low)), 2)
  left, top = round((image.width - size) / 2), round((image.height - size) / 2)
  return np.asarray(image.crop((left, top, left + size, top + size)))


def folder(root, counts, split="train", height=40, width=50):
  """Writes `<root>/<split>/<label>/<number>.jpg`, as many of each label as `counts` says."""
  for label, count in counts.items():
    place = root / split / label
    place.mkdir(parents=True)
    for number in range(count):
      seed = sum(map(ord, label)) * 100 + number
      (place / f"{number:03d}.jpg").write_bytes(encoded(height + number, width, seed))
