"""AdamW, whose weight decay leaves BN and the classifier's bias alone.

python -m resnet_jax.main --config=examples/adamw.py:depth=20,digits --workdir=runs/adamw
"""

import optax

import resnet_jax
from configs import resnet
from resnet_jax.training import optim


@resnet_jax.optimizer("adamw", b1=0.9, b2=0.999)
def adamw(config, learning_rate):
  """Adam with decoupled weight decay."""
  own, decay = config.adamw, config.weight_decay
  return optax.adamw(learning_rate, own.b1, own.b2, weight_decay=decay, mask=optim.kernels)


def get_config(argument: str = ""):
  """As configs/resnet.py takes it."""
  config = resnet.get_config(argument)
  config.optim.name, config.optim.learning_rate, config.optim.weight_decay = "adamw", 1e-3, 0.05
  return config
