"""A network trained before, with a new classifier for data of your own.

python -m resnet_jax.main --config=configs/finetune.py:weights=runs/resnet50,dir=photos \\
  --config.finetune.frozen=stem,stage1 --workdir=runs/mine

`dir` holds train/<label>/*.jpg and val/<label>/*.jpg. Without it the data are the digits, and
without `weights` the net is that of runs/resnet20 (README, Runs). Images are normalized as those
were that the weights were trained on; a net of grey images, such as the digits, cannot go on with
photographs.
"""

from configs import common
from resnet_jax.errors import UserError
from resnet_jax.training import finetune


def get_config(argument: str = ""):
  """`weights=`: a run's folder or a weights file; `dir=`: a folder of class folders."""
  given = {"weights": "runs/resnet20", "dir": ""}
  for part in filter(None, argument.split(",")):
    key, equals, value = part.partition("=")
    if key not in given or not equals:
      raise UserError(
        f"{part!r} is unknown behind configs/finetune.py; write weights=... or dir=..."
      )
    given[key] = value
  source = finetune.source_config(given["weights"])
  config = common.default_config()
  config.finetune.weights = given["weights"]
  config.model.update(source.model)
  if given["dir"]:
    config.data.name, config.data.dir, config.data.test_split = "folder", given["dir"], "val"
    config.data.image_size = finetune.image_size(source)
    config.data.normalize = finetune.normalization(given["weights"], source)
    config.data.batch_size = 32
    config.train.steps = "20 epochs"
    config.train.eval_every = config.train.checkpoint_every = "1 epoch"
    config.train.log_every = "20 steps"
    config.optim.schedule = "cosine"
  else:
    common.digits(config)
    config.data.normalize = source.data.normalize
  config.optim.learning_rate = 0.01
  config.optim.warmup = "0 steps"
  return common.only_read(config)
