"""What config files share: the papers' recipes, and the laptop's."""

from resnet_jax.config import default_config, parse_arguments
from resnet_jax.errors import UserError

__all__ = ["cifar", "default_config", "digits", "on", "parse_arguments"]


def on(config, data: str):
  """Sets the data set, with the recipe that belongs to it."""
  if not data or "=" in data or "," in data:
    raise UserError(
      f"{data!r} is no data set's name; write digits, cifar10 or another set of TFDS; other nets "
      "are in configs/resnet.py, as configs/resnet.py:depth=20,digits"
    )
  return digits(config) if data == "digits" else cifar(config, data)


def cifar(config, name: str = "cifar10"):
  """64k steps of 128, the rate divided by 10 at half and three quarters ([R] 4.2), after 400
  steps at 0.01 ([I] appendix).
  """
  config.data.name = name
  config.data.batch_size = 128
  config.optim.warmup = "400 steps"
  config.train.steps = "64000 steps"
  return config


def digits(config):
  """Minutes on two cores: the 1,437 training digits in batches of 16, as they are.

  Some 1,400 steps are too few to learn from shifted digits, and for the papers' weight decay, which
  is twenty times theirs here. The rate rises late enough for 110 layers with original units.
  """
  config.data.name = "digits"
  config.data.batch_size = 16
  config.data.pad = 0
  config.optim.warmup = "100 steps"
  config.optim.schedule = "cosine"
  config.optim.weight_decay = 2e-3
  config.train.steps = "1440 steps"  # 16 epochs of 90, and as many evaluations
  config.train.log_every = "20 steps"
  config.train.eval_every = "1 epoch"
  config.train.checkpoint_every = "2 epochs"
  return config
