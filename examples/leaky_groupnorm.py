"""An f of LeakyReLU and GroupNorm, in the order of the original unit.

python -m resnet_jax.main --config=examples/leaky_groupnorm.py:depth=20,digits --workdir=runs/gn
"""

from flax import linen as nn

import resnet_jax
from configs import resnet

resnet_jax.norm("GN", groups=8)(
  lambda unit, x, name: nn.GroupNorm(unit.config.GN.groups, use_fast_variance=False, name=name)(x)
)
resnet_jax.layer("LReLU", slope=0.1)(
  lambda unit, x, name: nn.leaky_relu(x, unit.config.LReLU.slope)
)
resnet_jax.after_add("leaky")("conv [GN LReLU conv] GN | LReLU")


def get_config(argument: str = ""):
  """As configs/resnet.py takes it."""
  config = resnet.get_config(argument)
  config.model.after_add = "leaky"
  return config
