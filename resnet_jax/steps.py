"""One training step, many of them in one dispatch, and one batch of an evaluation: all pure."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jax.sharding import NamedSharding

from resnet_jax.data import augment, order
from resnet_jax.models.layers import master_dtype
from resnet_jax.models.resnet import ResNet


class TrainState(struct.PyTreeNode):
  """All that a step changes."""

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """What `model.apply` takes."""
    return {"params": self.params, "batch_stats": self.batch_stats}


class Examples(struct.PyTreeNode):
  """A split on the device: images uint8 [N, H, W, C], labels int32 [N], and the normalization."""

  images: jax.Array
  labels: jax.Array
  mean: jax.Array
  scale: jax.Array


@dataclasses.dataclass(frozen=True)
class Task:
  """What stays the same from step to step."""

  model: ResNet
  optimizer: optax.GradientTransformation
  batch_size: int
  pad: int
  flip: bool
  seed: int
  batch_sharding: NamedSharding | None = None

  @property
  def dtype(self):
    """The type of the inputs: float32, or float64 where the computation is."""
    return master_dtype(self.model.config.dtype)

  def key(self, purpose: int) -> jax.Array:
    """A random key of the run: 0 for the weights, 1 for the order, 2 for the steps."""
    return jax.random.fold_in(jax.random.key(self.seed), purpose)

  def spread(self, batch):
    """Spreads a batch over the devices."""
    sharding = self.batch_sharding
    return batch if sharding is None else lax.with_sharding_constraint(batch, sharding)


def init(task: Task, shape: tuple[int, int, int]) -> TrainState:
  """The state before the first step, for images of [H, W, C]."""
  images = jnp.zeros((1, *shape), task.dtype)
  variables = task.model.init(task.key(0), images)
  params = variables["params"]
  return TrainState(
    jnp.zeros((), jnp.int32), params, variables["batch_stats"], task.optimizer.init(params)
  )


def loss_and_logits(model: ResNet, params, batch_stats, images, labels, key=None):
  """Cross-entropy in training mode over normalized images; also the logits and new statistics."""
  logits, updated = model.apply(  # type: ignore[misc]
    {"params": params, "batch_stats": batch_stats},
    images,
    train=True,
    mutable=["batch_stats"],
    rngs=None if key is None else {"dropout": key},
  )
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
  return loss, (logits, updated["batch_stats"])


def train_step(task: Task, state: TrainState, examples: Examples, chosen: jax.Array):
  """One step over the examples `chosen`, int32 [batch].

  Returns:
    the new state, and the step's metrics: loss; wrong, the number of images classified wrong
    in training mode; finite, whether loss, weights and statistics are.
  """
  augment_key, dropout_key = jax.random.split(jax.random.fold_in(task.key(2), state.step))
  images, labels = task.spread(examples.images[chosen]), task.spread(examples.labels[chosen])
  images = augment.normalize(images, examples.mean, examples.scale, task.dtype)
  images = augment.random_crop_flip(augment_key, images, task.pad, task.flip)

  def objective(params):
    return loss_and_logits(task.model, params, state.batch_stats, images, labels, dropout_key)

  (loss, (logits, batch_stats)), gradients = jax.value_and_grad(objective, has_aux=True)(
    state.params
  )
  updates, opt_state = task.optimizer.update(gradients, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves((params, batch_stats)))
  metrics = {
    "loss": loss,
    "wrong": jnp.sum(logits.argmax(-1) != labels, dtype=jnp.int32),
    "finite": jnp.isfinite(loss) & jnp.isfinite(total),
  }
  return TrainState(state.step + 1, params, batch_stats, opt_state), metrics


def dispatch(task: Task, most: int) -> Callable:
  """A function `(state, examples, count) -> (state, metrics)` of `count` steps, at most `most`.

  The count is an argument, not a shape: one program serves the first step alone, the steps up to
  the next evaluation and everything between, so that a run cut anywhere has the same bits.
  Metrics are [most], of which the first `count` were written.
  """

  def run(state: TrainState, examples: Examples, count: jax.Array):
    chosen = order.batch_indices(
      task.key(1), state.step, most, task.batch_size, len(examples.labels), count
    )
    empty = {
      "loss": jnp.zeros(most, task.dtype),
      "wrong": jnp.zeros(most, jnp.int32),
      "finite": jnp.zeros(most, bool),
    }

    def body(index, carry):
      state, metrics = carry
      state, new = train_step(task, state, examples, chosen[index])
      return state, {key: metrics[key].at[index].set(new[key]) for key in metrics}

    return lax.fori_loop(0, count, body, (state, empty))

  return run


def eval_step(task: Task, variables, examples: Examples, chosen: jax.Array):
  """The class predicted, int32 [batch], and the loss, [batch], of the examples `chosen`."""
  images, labels = task.spread(examples.images[chosen]), task.spread(examples.labels[chosen])
  images = augment.normalize(images, examples.mean, examples.scale, task.dtype)
  logits: Any = task.model.apply(variables, images)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  return logits.argmax(-1).astype(jnp.int32), losses
