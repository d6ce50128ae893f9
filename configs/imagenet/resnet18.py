"""ResNet-18: 10-crop top-1 error 28.22 % (Torch release), 27.88 % with projection A ([R] table 2).

python -m resnet_jax.main --config=configs/imagenet/resnet18.py --workdir=runs/resnet18
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=18)
