"""ResNet-101 ([R] table 3): 10-crop error 21.75 % top-1, 6.05 % top-5.

python -m resnet_jax.main --config=configs/imagenet/resnet101.py --workdir=runs/resnet101
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=101, unit="bottleneck")
