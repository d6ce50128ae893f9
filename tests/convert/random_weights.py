"""Tensors by others' names without any framework, for what needs no logits."""

import numpy as np
from safetensors.numpy import save_file

from resnet_jax.config import default_config
from resnet_jax.convert import LAYOUTS, network


def net(**model):
  """A config of a CIFAR net, or of what the settings say."""
  config = default_config()
  config.model.update({"depth": 8} | model)
  if config.model.family == "imagenet":
    config.data.name, config.data.normalize, config.model.projection = "folder", "imagenet", "B"
  return config


def tensors(config, layout=None, classes=10, seed=0, inputs=3):
  """Random weights and statistics of a net, named as the layout does."""
  layout = layout or {"cifar": "cifar", "imagenet": "torchvision"}[config.model.family]
  noise = np.random.default_rng(seed)
  table = network.entries(LAYOUTS[layout], config.model, inputs, classes, "both")
  return {
    entry.theirs: noise.uniform(0.5, 1.5, entry.their_shape).astype(np.float32) for entry in table
  }


def saved(path, named):
  """The tensors in a .safetensors file."""
  save_file({name: np.ascontiguousarray(tensor) for name, tensor in named.items()}, path)
  return path


def shapes(config, layout=None, classes=10):
  """As `tensors`, of zeros that take no memory: for what looks at names and shapes alone."""
  layout = layout or {"cifar": "cifar", "imagenet": "torchvision"}[config.model.family]
  table = network.entries(LAYOUTS[layout], config.model, 3, classes, "both")
  return {entry.theirs: zeros(*entry.their_shape) for entry in table}


def zeros(*shape):
  """An array of that shape that takes no memory."""
  return np.broadcast_to(np.float32(0), shape)
