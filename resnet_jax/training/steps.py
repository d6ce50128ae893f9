"""One training step, many of them in one dispatch, and one batch of an evaluation: all pure."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import struct
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

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
  """On the device: images uint8 [N, H, W, C], labels int32 [N], and the normalization.

  Either a whole split, of which each step takes some, or one batch, of which it takes all.
  """

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
  color_jitter: float = 0.0
  lighting: float = 0.0

  @property
  def dtype(self):
    """The type of the inputs: float32, or float64 where the computation is."""
    return master_dtype(self.model.config.dtype)

  def key(self, purpose: int) -> jax.Array:
    """A random key of the run: 0 for the weights, 1 for the order, 2 for the steps."""
    return jax.random.fold_in(jax.random.key(self.seed), purpose)

  @property
  def replicated(self) -> NamedSharding | None:
    """Everything on every device of the batch."""
    sharding = self.batch_sharding
    return None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())

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
    jnp.zeros((), jnp.int32), params, variables.get("batch_stats", {}), task.optimizer.init(params)
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
  return loss, (logits, updated.get("batch_stats", {}))  # none where no layer is a BN


def take(task: Task, examples: Examples, chosen: jax.Array | None):
  """The images and labels `chosen`, int32 [batch], or all where None, spread over the devices."""
  images, labels = examples.images, examples.labels
  if chosen is not None:
    images, labels = images[chosen], labels[chosen]
  return task.spread(images), task.spread(labels)


def augmented(task: Task, key: jax.Array, images: jax.Array, examples: Examples) -> jax.Array:
  """What the network trains on: uint8 images normalized, jittered, cropped and mirrored."""
  color_key, place_key = jax.random.split(key) if task.color_jitter or task.lighting else (key, key)
  images = jnp.asarray(images, task.dtype) / 255
  images = augment.color(color_key, images, task.color_jitter, task.lighting)
  images = augment.center(images, examples.mean, examples.scale)
  return augment.random_crop_flip(place_key, images, task.pad, task.flip)


def train_step(task: Task, state: TrainState, examples: Examples, chosen: jax.Array | None = None):
  """One step over the examples `chosen`, int32 [batch]; over all where None.

  Returns:
    the new state, and the step's metrics: loss; wrong, the number of images classified wrong
    in training mode; finite, whether loss, weights and statistics are.
  """
  augment_key, dropout_key = jax.random.split(jax.random.fold_in(task.key(2), state.step))
  images, labels = take(task, examples, chosen)
  images = augmented(task, augment_key, images, examples)

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


def batch_statistics(task: Task, variables, examples: Examples, chosen: jax.Array | None = None):
  """The statistics of every BN over one batch in training mode, as a tree like `batch_stats`."""
  images, _ = take(task, examples, chosen)
  images = augment.normalize(images, examples.mean, examples.scale, task.dtype)
  config = ml_collections.ConfigDict(task.model.config)
  config.norm.decay, config.norm.frozen = 0.0, False  # what is kept of each batch is its own
  model = task.model.clone(config=ml_collections.FrozenConfigDict(config), frozen=())
  _, updated = model.apply(
    variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": task.key(2)}
  )
  return updated.get("batch_stats", {})


def eval_step(task: Task, variables, examples: Examples, chosen: jax.Array | None = None):
  """The logits, [batch, classes], of the examples `chosen`; of all where None."""
  images, _ = take(task, examples, chosen)
  images = augment.normalize(images, examples.mean, examples.scale, task.dtype)
  return task.model.apply(variables, images)
