"""One training step, many of them in one dispatch, and one batch of an evaluation: all pure."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import struct
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from resnet_jax.data import order
from resnet_jax.data.batch import Batch, Examples
from resnet_jax.models.heads import Network
from resnet_jax.tasks import Task


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


Taken = tuple[TrainState, dict[str, Any]]  # by steps: the state after them, what each measured


@dataclasses.dataclass(frozen=True)
class Learner:
  """What stays the same from step to step: the network, its task and its optimizer."""

  model: Network
  task: Task
  optimizer: optax.GradientTransformation
  batch_size: int
  seed: int
  batch_sharding: NamedSharding | None = None

  def key(self, purpose: int) -> jax.Array:
    """A random key of the run: 0 for the weights, 1 for the order, 2 for the steps."""
    return jax.random.fold_in(jax.random.key(self.seed), purpose)

  @property
  def replicated(self) -> NamedSharding | None:
    """Everything on every device of the batch."""
    sharding = self.batch_sharding
    return None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())

  def spread(self, batch: Batch) -> Batch:
    """The batch with its examples spread over the devices."""
    sharding = self.batch_sharding
    if sharding is None:
      return batch
    images, targets = lax.with_sharding_constraint((batch.images, batch.targets), sharding)
    return batch.replace(images=images, targets=targets)


def init(learner: Learner, shape: tuple[int, int, int]) -> TrainState:
  """The state before the first step, for images of [H, W, C]."""
  images = jnp.zeros((1, *shape), learner.task.dtype)
  variables = learner.model.init(learner.key(0), images)
  params, batch_stats = variables["params"], variables.get("batch_stats", {})
  return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, learner.optimizer.init(params))


def loss_and_outputs(
  learner: Learner, params: Any, batch_stats: Any, batch: Batch, key: jax.Array | None = None
) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
  """The loss of an augmented batch in training mode; also what else the task measures of it, and
  the new statistics.
  """
  outputs, updated = learner.model.apply(
    {"params": params, "batch_stats": batch_stats},
    batch.images,
    train=True,
    mutable=["batch_stats"],
    rngs=None if key is None else {"dropout": key},
  )
  loss, sums = learner.task.loss(outputs, batch)
  return loss, (sums, updated.get("batch_stats", {}))  # none where no layer is a BN


def train_step(learner: Learner, state: TrainState, batch: Batch) -> Taken:
  """One step over a batch.

  Returns:
    the new state, and what is measured of the step, each []: loss; the task's own, summed over the
    examples; finite, whether loss, weights and statistics are.
  """
  augment_key, dropout_key = jax.random.split(jax.random.fold_in(learner.key(2), state.step))
  batch = learner.task.augment(augment_key, learner.spread(batch))

  def objective(params: Any) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
    return loss_and_outputs(learner, params, state.batch_stats, batch, dropout_key)

  (loss, (sums, batch_stats)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
  updates, opt_state = learner.optimizer.update(gradients, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves((params, batch_stats)))
  finite = jnp.isfinite(loss) & jnp.isfinite(total)
  measured = {"loss": loss, **sums, "finite": finite}
  return TrainState(state.step + 1, params, batch_stats, opt_state), measured


def dispatch(learner: Learner, most: int) -> Callable[[TrainState, Examples, jax.Array], Any]:
  """A function `(state, examples, count) -> (state, measured)` of `count` steps, at most `most`.

  The count is an argument, not a shape: one program serves the first step alone, the steps up to
  the next evaluation and everything between, so that a run cut anywhere has the same bits.
  What is measured is [most], of which the first `count` were written.
  """

  # Traced once, where its shapes are asked for, and inlined into the loop.
  @functools.partial(jax.jit, inline=True)
  def step(state: TrainState, examples: Examples, chosen: jax.Array) -> Taken:
    return train_step(learner, state, examples.take(chosen))

  def run(state: TrainState, examples: Examples, count: jax.Array) -> Any:
    chosen = order.batch_indices(
      learner.key(1), state.step, most, learner.batch_size, len(examples.images), count
    )

    def body(index: jax.Array, carry: Any) -> Any:
      state, measured = carry
      state, new = step(state, examples, chosen[index])
      return state, {key: measured[key].at[index].set(new[key]) for key in measured}

    _, shapes = jax.eval_shape(step, state, examples, chosen[0])
    empty = {key: jnp.zeros((most, *one.shape), one.dtype) for key, one in shapes.items()}
    return lax.fori_loop(0, count, body, (state, empty))

  return run


def batch_statistics(learner: Learner, variables: Any, batch: Batch) -> Any:
  """The statistics of every BN over one batch in training mode, as a tree like `batch_stats`."""
  images = learner.task.normalize(learner.spread(batch)).images
  # By way of plain dictionaries: else the groups would be those of the config given to the model.
  config = ml_collections.ConfigDict(learner.model.config.to_dict())
  config.norm.decay, config.norm.frozen = 0.0, False  # what is kept of each batch is its own
  model = learner.model.clone(config=ml_collections.FrozenConfigDict(config), frozen=())
  _, updated = model.apply(
    variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": learner.key(2)}
  )
  return updated.get("batch_stats", {})


def eval_step(learner: Learner, columns: Any, variables: Any, batch: Batch) -> dict[str, jax.Array]:
  """What the task keeps of a batch of an evaluation.

  `columns`: the network's outputs for the classes of the test set, in their order; None: its own.
  """
  batch = learner.task.normalize(learner.spread(batch))
  outputs = learner.model.apply(variables, batch.images)
  if columns is not None:
    outputs = learner.task.reorder(outputs, columns)
  return learner.task.entries(outputs, batch)
