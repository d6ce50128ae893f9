"""What config files share: the papers' recipes, and the laptop's."""

import difflib

from resnet_jax.config import DROPS, default_config, parse_arguments, reset, unread
from resnet_jax.errors import UserError, unknown

__all__ = ["cifar", "default_config", "digits", "imagenet", "on", "only_read", "parse_arguments"]


def on(config, data: str):
  """Sets the data set, with the recipe that belongs to it."""
  if not data or "=" in data or "," in data or data.isdecimal():
    raise UserError(
      f"{data!r} is no data set's name; write digits, cifar10 or another set of TFDS; other nets "
      "are in configs/resnet.py, as configs/resnet.py:depth=20,digits"
    )
  return digits(config) if data == "digits" else cifar(config, data)


def only_read(config):
  """The config, in which whatever nothing reads is at its default."""
  reset(config, unread(config))
  return config


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


def imagenet(argument: str = "", **model):
  """An ImageNet net of these settings with the recipe and the data set that `argument` names.

  `"torch,folder"` is the Torch release's recipe on a folder of class folders; with neither it is
  the paper's on TFDS's imagenet2012. What else stands there are settings of the model, `depth=34`.
  """
  words = [word.strip() for word in argument.split(",") if word.strip()]
  recipes = [word for word in words if word in RECIPES]
  if len(recipes) > 1:
    raise UserError(f"{argument!r} names {len(recipes)} recipes; take one: {', '.join(RECIPES)}")
  rest = [word for word in words if word not in RECIPES]
  for word in rest:
    if difflib.get_close_matches(word, RECIPES):
      raise unknown("the recipe", word, RECIPES)
  given = parse_arguments(",".join(rest))
  data = given.pop("data", "imagenet2012")
  config = default_config()
  config.model.update({"family": "imagenet", "projection": "B"} | model)
  config.data.name = data
  config.data.test_split = "validation" if data.startswith("imagenet2012") else "val"
  config.data.normalize = "imagenet"
  config.data.batch_size = 256
  config.train.eval_every = config.train.checkpoint_every = "1 epoch"
  config.model.update(given)  # before the recipe, as it may tell what the net reads
  RECIPES[recipes[0] if recipes else "paper"](config)
  only_read(config).model.update(given)
  return config


def paper(config):
  """[R] 3.4: shorter sides of 256 to 480 and PCA noise, 60e4 steps.

  [R] divides the rate by 10 where the error stays; these are 120 epochs with drops every 30.
  """
  config.data.crop = "scale"
  config.data.lighting = 0.1
  config.train.steps = "600000 steps"
  config.optim.drop_at = DROPS["paper"]


def torch(config):
  """The Torch release: crops of all sizes and shapes, colour jitter, 90 epochs, Nesterov."""
  config.data.color_jitter = 0.4
  config.data.lighting = 0.1
  config.model.stride_on = "3x3"
  config.model.init = "msra_fan_out"
  config.optim.nesterov = True
  config.train.steps = "90 epochs"
  config.optim.drop_at = DROPS["torch"]


def large_batch(config):
  """The Torch release's in batches of 8,192: the rate grows with the batch, to 3.2 in 5 epochs,
  while BN's statistics stay those of 32 images.
  """
  torch(config)
  config.data.batch_size = 8192
  config.model.norm.group_size = 32
  config.optim.learning_rate = 3.2
  config.optim.warmup = "5 epochs"
  config.optim.warmup_learning_rate = 0.1
  config.optim.warmup_schedule = "linear"
  config.optim.drop_at = DROPS["large_batch"]


RECIPES = {"paper": paper, "torch": torch, "large_batch": large_batch}
