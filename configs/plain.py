"""A plain net without normalization, for what initialization does.

--config=configs/plain.py:digits                                  22 layers with ReLU, from MSRA
--config=configs/plain.py:init=xavier,digits --config.model.plain.layers=30
"""

from configs import common


def get_config(argument: str = ""):
  """`key=value` pairs of `config.model`, and a data set's name; what is not given is 22 layers.

  The rate is constant and has no warm-up, so that a late start is the weights' doing. Without
  normalization some steps would end all training: the gradient is cut, which small ones do not
  feel. Weight decay would be most of the gradient of layers that a signal hardly reaches.
  """
  given = common.parse_arguments(argument)
  data = given.pop("data", "cifar10")
  config = common.default_config()
  config.model.name = "plain"
  config.model.update(given)
  common.on(config, data)
  config.optim.update(learning_rate=0.05, schedule="constant", clip=0.5, weight_decay=0.0)
  config.optim.warmup = 0
  return config
