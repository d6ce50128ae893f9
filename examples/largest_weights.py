"""A study of one's own: the largest weight of each unit.

python -m resnet_jax.study --config=examples/largest_weights.py --workdir=runs/largest
"""

import jax

from resnet_jax.study import Panel, Study, Sweep, grid, study


@study("largest_weights")
def largest_weights(net):
  """Of every unit, from 1 on."""
  for number, unit in enumerate(net.units(net.variables["params"])):
    yield {"unit": number + 1, "largest": max(abs(w).max() for w in jax.tree.leaves(unit))}


def get_study(data="digits"):
  """`data`: digits, cifar10 or another data set's name."""
  rows = grid({"model.init": ["msra", "xavier", "pytorch"]})
  sweep = Sweep(f"configs/resnet.py:depth=20,{data}", rows, seeds=3)
  return Study("largest_weights", sweep, [Panel("largest", "largest weight", log=True)])
