"""Pre-activation ResNet-1001 ([I] table 4): 4.92 % on CIFAR-10, 22.71 % on CIFAR-100.

python -m resnet_jax.main --config=configs/preact1001.py --workdir=runs/preact1001
python -m resnet_jax.main --config=configs/preact1001.py:digits --workdir=runs/digits
"""

from configs import common


def get_config(data: str = "cifar10"):
  """`data`: cifar10, cifar100, digits, or another prepared TFDS set."""
  config = common.default_config()
  config.model.depth = 1001
  config.model.unit = "bottleneck"
  config.model.after_add = "full_preact"
  config.model.projection = "B"
  common.on(config, data)
  if data == "digits":  # these units bear twice the rate at once, and end better for it
    config.optim.learning_rate = 0.2
    config.optim.warmup = "20 steps"
  return config
