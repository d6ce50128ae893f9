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

FOUND = """
The mean length of the pre-activation net of 56 layers is 3.7 of 27, as expected, but with 110
layers it is 5.0 of 54, not 3. The original nets have 2.9 and 2.4 again. Training has shortened the
paths to between a quarter and a half of what they were (9.6 and 13.2 with pre-activation, 9.7 in
the original net of 110 layers), and paths of more than 9 F contribute less than 1 % in every net:
these are ensembles of shallow nets. A path through no F at all brings 7 % in the original net of
110 layers.

The last diagram shows where the pre-activation nets gain their length: F of the first unit of each
stage is on 0.78, 0.81 and 0.64 of the paths with 110 layers, and on 0.53, 0.70 and 0.74 with 56,
more than I expected. These are the units that the study lesion cannot remove without harm. In the
original nets they are units 1 and 19 of 27 (0.54 and 0.22), and 1 and 37 of 54 (0.26 and 0.35); the
first unit of stage 2 does not stand out.

Number times size is 3.4 and 3.8 in the original nets, longer by 0.5 and 1.3, and 3.8 and 4.1 in the
others, of which the last is shorter than the exact 5.0. Most of what arrives there comes through
three F, and of 8 random paths of a length few go through all of them: sampling misses the paths
that count. The squares of the sizes of all lengths come to 0.20 to 0.36 of the whole, where the
initialized nets have 0.94 to 1.29: gradients of different lengths no longer are uncorrelated but
point the same way.
"""


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  sweep = Sweep(f"configs/resnet.py:{data}", NETS, seeds=1)
  initialized = paths.get_study(data)
  return dataclasses.replace(initialized, sweep=sweep, trained=True, guess=GUESS, found=FOUND)
