"""ResNet-34 with projections B ([R] table 3): 10-crop error 24.52 % top-1, 7.46 % top-5.

python -m resnet_jax.main --config=configs/imagenet/resnet34.py --workdir=runs/resnet34
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=34)
