"""Degradation on photographs: 18 and 34 layers, plain and residual ([R] 4.1)

python -m resnet_jax.study --config=configs/study/degradation34.py --workdir=runs/degradation34 \
  --config.data.dir=photos

`photos` holds train/<label>/*.jpg and val/<label>/*.jpg, some thousand of a few classes.
"""

from configs.imagenet import miniature
from configs.study import degradation
from resnet_jax.study import Study, Sweep, group, row

NETS = [row(f"{depth} layers", {"model.depth": depth}) for depth in (18, 34)]

GUESS = """
Some ten epochs of few photographs are a small budget: no net is near what ImageNet's nets reach.
Plain-18 and ResNet-18 are within 3 points of each other in test error, as in [R] (27.94 and 27.88).
Plain-34 has the larger training error, by 5 points, and test error, by 5 points, than plain-18.
ResNet-34 is level with ResNet-18 in training and test error, within 2 points; [R] has it 2.85
points better, but after 600,000 steps on a million photographs.
"""

FOUND = ""


def get_config(argument: str = ""):
  """The recipe of configs/imagenet/miniature.py, shorter: four nets stay below 90 minutes."""
  config = miniature.get_config(argument)
  config.train.steps = "10 epochs"
  return config


def get_study() -> Study:
  """The networks are read from `get_config` above."""
  rows = group("plain", NETS, {"model.shortcut": "none", "model.projection": "A"})
  rows += group("residual", NETS)
  return Study(
    "degradation",
    Sweep("configs/study/degradation34.py", rows, seeds=1),
    degradation.PANELS,
    trained=True,
    by_group=True,
    guess=GUESS,
    reading=degradation.READING,
    found=FOUND,
  )
