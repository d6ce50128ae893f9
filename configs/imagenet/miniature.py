"""ResNet-18 on some thousand photographs of a few classes: half an hour on two cores.

python -m resnet_jax.main --config=configs/imagenet/miniature.py:dir=photos --workdir=runs/miniature

`dir` holds train/<label>/*.jpg and val/<label>/*.jpg. The sizes are those of ImageNet scaled from
224 to 112 pixels; launch/miniature.sh does with the run all that can be done with one.
"""

from configs import common
from resnet_jax.errors import UserError


def get_config(argument: str = ""):
  """`dir=`: the folder of photographs."""
  key, _, folder = argument.partition("=")
  if argument and (key != "dir" or not folder):
    raise UserError(f"{argument!r} is unknown behind miniature.py; write dir=FOLDER")
  config = common.imagenet("folder", depth=18)
  config.data.dir = folder
  config.data.image_size = 112
  config.data.batch_size = 32
  config.optim.learning_rate = 0.02
  config.optim.schedule = "cosine"
  config.optim.weight_decay = 5e-4  # some thousand photographs are soon learnt by heart
  config.optim.warmup = "1 epoch"
  config.train.steps = "30 epochs"
  config.train.log_every = "20 steps"
  config.train.eval_every = config.train.checkpoint_every = "2 epochs"
  return common.only_read(config)
