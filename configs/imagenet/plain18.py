"""Plain-18, the net without shortcuts ([R] table 2): 10-crop top-1 error 27.94 %.

python -m resnet_jax.main --config=configs/imagenet/plain18.py --workdir=runs/plain18
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=18, shortcut="none")
