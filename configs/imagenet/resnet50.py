"""ResNet-50 ([R] table 3): 10-crop error 22.85 % top-1, 6.71 % top-5.

python -m resnet_jax.main --config=configs/imagenet/resnet50.py --workdir=runs/resnet50
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=50, unit="bottleneck")
