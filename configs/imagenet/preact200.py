"""Pre-activation ResNet-200 ([I] table 5): 320 crop, error 20.7 % top-1, 5.3 % top-5.

python -m resnet_jax.main --config=configs/imagenet/preact200.py --workdir=runs/preact200
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=200, unit="bottleneck", after_add="full_preact")
