"""Label smoothing (Szegedy et al. 2016): a share of each label is spread over all classes.

python -m resnet_jax.main --config=examples/label_smoothing.py:depth=20,digits --workdir=runs/ls
"""

import jax
import optax

import resnet_jax
from configs import resnet


@resnet_jax.loss("smoothed", share=0.1)
def smoothed(config, logits, labels):
  """Cross-entropy with smoothed labels, [B]; `config` is config.task."""
  targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), config.smoothed.share)
  return optax.softmax_cross_entropy(logits, targets)


def get_config(argument: str = ""):
  """As configs/resnet.py takes it."""
  config = resnet.get_config(argument)
  config.task.loss = "smoothed"
  return config
