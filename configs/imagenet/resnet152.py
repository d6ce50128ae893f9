"""ResNet-152 ([R] table 3): 10-crop error 21.43 % top-1, 5.71 % top-5.

python -m resnet_jax.main --config=configs/imagenet/resnet152.py --workdir=runs/resnet152
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=152, unit="bottleneck")
