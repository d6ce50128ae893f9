"""Any net of the papers, by its settings.

--config=configs/resnet.py:depth=56                               ResNet-56 on CIFAR-10
--config=configs/resnet.py:depth=164,unit=bottleneck,after_add=full_preact,cifar100
--config=configs/resnet.py:depth=110,shortcut=none,digits         plain-110 on the digits
"""

from configs import common


def get_config(argument: str = ""):
  """`key=value` pairs of `config.model`, and a data set's name; what is not given is ResNet-110.

  Bottleneck nets get projection B unless another is named, since their first unit widens.
  """
  given = common.parse_arguments(argument)
  data = given.pop("data", "cifar10")
  config = common.default_config()
  if given.get("unit") == "bottleneck":
    config.model.projection = "B"
  config.model.update(given)
  common.only_read(config).model.update(given)  # plain nets project nothing
  return common.on(config, data)
