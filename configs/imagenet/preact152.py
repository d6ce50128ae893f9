"""Pre-activation ResNet-152 ([I] table 5): 320 crop, error 21.1 % top-1, 5.5 % top-5.

python -m resnet_jax.main --config=configs/imagenet/preact152.py --workdir=runs/preact152
"""

from configs import common


def get_config(argument: str = ""):
  """A recipe (paper, torch, large_batch) and a data set (imagenet2012, folder, list)."""
  return common.imagenet(argument, depth=152, unit="bottleneck", after_add="full_preact")
