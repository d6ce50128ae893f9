"""The order of examples: whole epochs, and a function of (key, step) alone."""

import jax
import numpy as np
import pytest

from resnet_jax.data.order import batch_indices

KEY = jax.random.key(3)


@pytest.mark.parametrize(("examples", "batch"), [(10, 3), (7, 7), (5, 8), (12, 4)])
def test_each_epoch_sees_every_example_once(examples, batch):
  steps = 3 * examples
  line = np.asarray(batch_indices(KEY, 0, steps, batch, examples)).ravel()
  epochs = line[: len(line) // examples * examples].reshape(-1, examples)
  np.testing.assert_array_equal(
    np.sort(epochs, axis=1), np.tile(np.arange(examples), (batch * 3, 1))
  )
  assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("first", [0, 1, 5, 17])
def test_steps_do_not_depend_on_where_a_dispatch_begins(first):
  whole = batch_indices(KEY, 0, 30, 4, 11)
  part = jax.jit(lambda step: batch_indices(KEY, step, 6, 4, 11))(first)
  np.testing.assert_array_equal(part, whole[first : first + 6])


@pytest.fixture(scope="module")
def at_most_six():
  return jax.jit(lambda step, count: batch_indices(KEY, step, 6, 4, 11, count))


@pytest.mark.parametrize("count", range(1, 7))
def test_the_first_steps_of_a_dispatch_are_all_that_is_asked_for(at_most_six, count):
  exactly = jax.jit(lambda step: batch_indices(KEY, step, count, 4, 11))
  for first in range(11):
    np.testing.assert_array_equal(at_most_six(first, count)[:count], exactly(first))


def test_far_beyond_int32_positions():
  step, batch, examples = 2**31 - 100, 512, 50_000
  chosen = np.asarray(batch_indices(KEY, step, 3, batch, examples)).ravel()
  epoch, offset = divmod(step * batch, examples)  # about 2**40
  epochs = [
    jax.random.permutation(jax.random.fold_in(KEY, epoch + i), np.arange(examples, dtype=np.int32))
    for i in range(2)
  ]
  np.testing.assert_array_equal(chosen, np.concatenate(epochs)[offset : offset + 3 * batch])
