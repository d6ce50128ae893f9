"""Stochastic depth with linear decay (Huang et al. 2016): late units are left out more often.

python -m resnet_jax.main --config=examples/stochastic_depth.py:depth=110,digits --workdir=runs/sd
"""

import jax

import resnet_jax
from configs import resnet


@resnet_jax.residual("stochastic", survival=0.5)
def stochastic(unit, F, key):
  """F of unit l of L survives with probability 1 - l / L (1 - survival)."""
  p = 1 - (unit.number + 1) / unit.total * (1 - unit.config.stochastic.survival)
  return unit.only_if(jax.random.bernoulli(key, p), F) if unit.train else p * F()


def get_config(argument: str = ""):
  """As configs/resnet.py takes it."""
  config = resnet.get_config(argument)
  config.model.residual = "stochastic"
  return config
