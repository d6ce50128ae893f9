"""This package's side of the benchmarks: the training step as the loop runs it, on made-up images.

Import it in a process that is to hold the accelerator; the others do without JAX.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax import data, models, tasks
from resnet_jax.config import load_file
from resnet_jax.data import augment
from resnet_jax.data.batch import Examples, Normalization, take
from resnet_jax.training import compilation, optim, steps
from resnet_jax.training.feed import MOST

CLASSES, EXAMPLES = 10, 1024


def config(spec: str, settings: dict[str, str]) -> Any:
  """The config of `spec` with settings of the model, as `{"remat": "none"}`."""
  found = load_file(spec)
  for key, value in settings.items():
    found.model[key] = type(found.model[key])(value)
  return found


def learner(given: Any, batch_size: int, sharding: Any = None) -> steps.Learner:
  """What the loop makes of a config, with the papers' augmentation and rate."""
  compilation.set_up()
  optimizer = optim.build(given.optim, lambda step: jnp.float32(0.1))
  info = data.Info("made up", (0, 0, 3), tuple(map(str, range(CLASSES))), pad=4, flip=True)
  task = tasks.build(given, info)
  return steps.Learner(models.build(given.model, CLASSES), task, optimizer, batch_size, 0, sharding)


def examples(size: int) -> Examples:
  """Random images and labels, with their normalization, in memory of the device."""
  random = np.random.default_rng(0)
  images = random.integers(0, 256, (EXAMPLES, size, size, 3), np.uint8)
  labels = random.integers(0, CLASSES, EXAMPLES, np.int32)
  normalization = Normalization(*augment.normalization(images, "pixel_mean"))
  return jax.device_put(Examples(images, labels, normalization))


class Trainer:
  """A net with its optimizer state; `steps` and `images` do what those of the peer do."""

  def __init__(self, given: Any, size: int, batch_size: int):
    self.learner, self.examples = learner(given, batch_size), examples(size)
    self.state = jax.jit(lambda: steps.init(self.learner, (size, size, 3)))()
    self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
    self.dispatch = jax.jit(steps.dispatch(self.learner, MOST), donate_argnums=0)
    self.evaluate = jax.jit(steps.eval_step, static_argnums=0)
    self.batch = take(self.examples, np.arange(batch_size) % EXAMPLES)

  def steps(self, count: int) -> None:
    """Takes so many training steps, at most `MOST`, in one dispatch, and waits for the last."""
    self.state, _ = jax.block_until_ready(self.dispatch(self.state, self.examples, np.int32(count)))

  def infer(self, count: int) -> None:
    """Classifies so many batches and waits for the last."""
    for _ in range(count):
      found = self.evaluate(self.learner, None, self.state.variables, self.batch)
    jax.block_until_ready(found)
