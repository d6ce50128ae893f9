"""The order of the training examples: a function of (key, step) alone, computed on the device.

The examples of all epochs stand in one endless line, epoch after epoch, each epoch a permutation
of the whole training set; step s takes positions s * batch to (s + 1) * batch - 1 of it. Batches
may straddle epochs, and a run that resumes needs nothing but its step.
"""

import jax
import jax.numpy as jnp


def batch_indices(
  key: jax.Array,
  first_step: jax.Array | int,
  steps: int,
  batch_size: int,
  examples: int,
  count: jax.Array | int | None = None,
) -> jax.Array:
  """Which examples `steps` consecutive steps see.

  The permutations of the epochs that these steps touch are computed once for all of them.

  Args:
    key: the run's key for the order.
    first_step: the first of the steps, int32; may be traced.
    steps: how many steps, static.
    batch_size: examples a step, static.
    examples: how many there are, static; `examples * batch_size` below 2**31.
    count: how many of the steps are asked for, all where None; may be traced.

  Returns:
    int32 [steps, batch_size], each in [0, examples); of the first `count` steps alone.
  """
  span = steps * batch_size
  if max(examples * batch_size, examples + span) >= 2**31:
    raise ValueError(f"{examples} examples in batches of {batch_size} overflow int32 positions")
  # first_step * batch_size may overflow. Every `examples` steps see whole epochs, `batch_size` of
  # them, so only the remainder has to be multiplied out.
  rounds, remainder = jnp.divmod(jnp.asarray(first_step, jnp.int32), examples)
  epochs, offset = jnp.divmod(remainder * batch_size, examples)
  first_epoch = rounds * batch_size + epochs

  most = (span + examples - 2) // examples + 1  # if the first step begins at an epoch's end
  asked = steps if count is None else count
  touched = (offset + asked * batch_size - 1) // examples + 1
  line = jax.lax.fori_loop(
    0,
    touched,
    lambda i, line: line.at[i].set(_permutation(key, first_epoch + i, examples)),
    jnp.zeros((most, examples), jnp.int32),
  )
  indices = jax.lax.dynamic_slice_in_dim(line.reshape(-1), offset, span)
  return indices.reshape(steps, batch_size)


def _permutation(key: jax.Array, epoch: jax.Array, examples: int) -> jax.Array:
  order = jnp.arange(examples, dtype=jnp.int32)
  return jax.random.permutation(jax.random.fold_in(key, epoch), order)
