"""A data set of two arrays in a .npz file: images, uint8 [N, H, W, C], and labels, [N].

python -m resnet_jax.main --config=examples/arrays.py:mine.npz --workdir=runs/mine
"""

import numpy as np

import resnet_jax
from configs import resnet


@resnet_jax.dataset("arrays", file="arrays.npz")
def arrays(config):
  """The file's arrays, of which the splits take theirs."""
  found = np.load(config.arrays.file)
  return {"all": (found["images"], found["labels"])}, range(int(found["labels"].max()) + 1)


def get_config(file: str = "arrays.npz"):
  """`file`: the .npz file."""
  config = resnet.get_config("depth=20,digits")
  config.data.name, config.data.arrays.file = "arrays", file
  config.data.train_split, config.data.test_split = "all[:80%]", "all[80%:]"
  return config
