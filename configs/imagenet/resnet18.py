"""ResNet-18 ([R] table 2): 10-crop top-1 error 27.88 %; Torch release 28.22 %.

python -m resnet_jax.main --config=configs/imagenet/resnet18.py --workdir=runs/resnet18
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=18)
