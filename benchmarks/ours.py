"""This package's side of the benchmarks: the training step as the loop runs it, on made-up images.

Import it in a process that is to hold the accelerator; the others do without JAX.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import models
from resnet_jax.config import load_file
from resnet_jax.data import augment
from resnet_jax.training import compilation, optim, steps
from resnet_jax.training.feed import MOST

CLASSES, EXAMPLES = 10, 1024


def config(spec: str, settings: dict[str, str]) -> Any:
  """The config of `spec` with settings of the model, as `{"remat": "none"}`."""
  found = load_file(spec)
  for key, value in settings.items():
    found.model[key] = type(found.model[key])(value)
  return found


def task(given: Any, batch_size: int, sharding: Any = None) -> steps.Task:
  """What the loop makes of a config, with the papers' augmentation and rate."""
  compilation.set_up()
  optimizer = optim.build(given.optim, lambda step: jnp.float32(0.1))
  model = models.build(given.model, CLASSES)
  return steps.Task(model, optimizer, batch_size, 4, True, 0, sharding)


def examples(size: int) -> steps.Examples:
  """Random images and labels, with their normalization, in memory of the device."""
  random = np.random.default_rng(0)
  images = random.integers(0, 256, (EXAMPLES, size, size, 3), np.uint8)
  labels = random.integers(0, CLASSES, EXAMPLES, np.int32)
  return jax.device_put(
    steps.Examples(images, labels, *augment.normalization(images, "pixel_mean"))
  )


class Trainer:
  """A net with its optimizer state; `steps` and `images` do what those of the peer do."""

  def __init__(self, given: Any, size: int, batch_size: int):
    self.task, self.examples = task(given, batch_size), examples(size)
    self.state = jax.jit(lambda: steps.init(self.task, (size, size, 3)))()
    self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
    self.dispatch = jax.jit(steps.dispatch(self.task, MOST), donate_argnums=0)
    self.evaluate = jax.jit(steps.eval_step, static_argnums=0)
    self.chosen = np.arange(batch_size) % EXAMPLES

  def steps(self, count: int) -> None:
    """Takes so many training steps, at most `MOST`, in one dispatch, and waits for the last."""
    self.state, _ = jax.block_until_ready(self.dispatch(self.state, self.examples, np.int32(count)))

  def infer(self, count: int) -> None:
    """Classifies so many batches and waits for the last."""
    for _ in range(count):
      found = self.evaluate(self.task, self.state.variables, self.examples, self.chosen)
    jax.block_until_ready(found)
