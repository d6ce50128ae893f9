"""Plain-34, the net without shortcuts ([R] table 2): 10-crop top-1 error 28.54 %.

python -m resnet_jax.main --config=configs/imagenet/plain34.py --workdir=runs/plain34
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=34, shortcut="none")
