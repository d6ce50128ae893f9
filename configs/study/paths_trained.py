"""Paths after training: the gradient by the number of F that it goes through (Veit et al. 2016)

python -m resnet_jax.study --config=configs/study/paths_trained.py
python -m resnet_jax.study --config=configs/study/paths_trained.py:cifar10 --workdir=runs/trained
"""

import dataclasses

from configs.study import paths
from resnet_jax.study import Study, Sweep, row

PREACT = {"model.after_add": "full_preact"}
NETS = [
  row("original 56", {"model.depth": 56}),
  row("original 110", {"model.depth": 110}),
  row("pre-activation 56", PREACT | {"model.depth": 56}),
  row("pre-activation 110", PREACT | {"model.depth": 110}),
]

GUESS = """
Before I wrote this I had measured three original nets: after training on the digits the mean length
was 2.3 with 20 layers, 2.9 with 56 and 2.4 with 110, where the initialized net of 110 layers had
9.7. For the nets that begin with an activation I expect the same within one: 3 of 27 F and of 54,
where the initialized ones had 9.6 and 13.2.

The first units of the stages should stand out, on a third to a half of the paths, and the last ones
of a stage should be on few. Number times size should be longer by about one, as few paths are left
to cancel; the gradients of different lengths should point the same way, so that the sum of the
squares of their sizes is about a third of the whole's.
"""

FOUND = ""


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  sweep = Sweep(f"configs/resnet.py:{data}", NETS, seeds=1)
  initialized = paths.get_study(data)
  return dataclasses.replace(initialized, sweep=sweep, trained=True, guess=GUESS, found=FOUND)
