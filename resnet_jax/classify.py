"""Names what photographs show: the five likeliest classes of each.

    python -m resnet_jax.classify --model=runs/resnet50 photo.jpg another.png
    python -m resnet_jax.classify --model=resnet50.safetensors photo.jpg

The model is a run's folder or a weights file that `resnet_jax.convert` reads. Exit code 1 where a
photograph could not be read; the others are classified all the same.
"""

import sys
from typing import Any

import numpy as np
from absl import flags

from resnet_jax import cli
from resnet_jax.errors import UserError
from resnet_jax.training import compilation

_MODEL = flags.DEFINE_string("model", None, "A run's folder or a weights file.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "Of a run: last, best or a step.")
TOP = 5


def check(photographs: list[str]) -> None:
  """Raises a UserError where a model or a photograph is missing."""
  if not _MODEL.value:
    raise UserError("--model is missing: name a run's folder or a weights file")
  if not photographs:
    raise UserError("no photograph is named; write python -m resnet_jax.classify photo.jpg")


def main(argv: list[str]) -> None:
  """Classifies the photographs and prints a block for each."""
  cli.announce(f"importing JAX and reading {_MODEL.value}")
  compilation.set_up()
  from resnet_jax import api
  from resnet_jax.data import imagenet
  from resnet_jax.data.photos.unreadable import Unreadable

  run = api.load(str(_MODEL.value), _CHECKPOINT.value)
  run.require_classifier()
  unread = 0
  for path in argv[1:]:
    try:
      image = run.read(path)
    except Unreadable as reason:
      print(f"{path}: {reason}", file=sys.stderr)
      unread += 1
      continue
    print(path)
    for share, label in best(run, image):
      print(f"  {100 * share:6.2f} %  {imagenet.readable(label)}")
  sys.exit(1 if unread else 0)


def best(run: Any, image: np.ndarray) -> list[tuple[float, str]]:
  """The probability and the label of the likeliest classes of an image, uint8 [H, W, C]."""
  logits = np.asarray(run(image[None]), np.float64)[0]
  shares = np.exp(logits - logits.max())
  shares /= shares.sum()
  order = np.argsort(-shares, kind="stable")[:TOP]
  return [(float(shares[index]), run.info.classes[index]) for index in order]


if __name__ == "__main__":
  cli.run(main, cli.parser(check))
