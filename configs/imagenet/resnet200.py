"""ResNet-200 with original units ([I] table 5): 320 crop, error 21.8 % top-1, 6.0 % top-5.

python -m resnet_jax.main --config=configs/imagenet/resnet200.py --workdir=runs/resnet200
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=200, unit="bottleneck")
