"""Which output of a network stands for which class of a data set."""

import numpy as np
import pytest

from resnet_jax.data.classes import order
from resnet_jax.errors import UserError

WORDS = sorted(map(str, range(12)))  # as folders are sorted: 0, 1, 10, 11, 2 ...
NUMBERS = list(map(str, range(12)))  # as the labels of a list are


def columns(trained, tested, outputs=None):
  return order("runs/a", trained, outputs or len(tested), "the test set", tested)


@pytest.mark.parametrize(
  ("trained", "tested"),
  [(WORDS, NUMBERS), (NUMBERS, WORDS), (["sky", "apple", "leaf"], ["apple", "leaf", "sky"])],
)
def test_classes_are_matched_by_name_whatever_their_order(trained, tested):
  found = columns(trained, tested)
  assert [trained[column] for column in found.columns] == tested
  assert not found.assumed


@pytest.mark.parametrize(
  ("trained", "tested", "message"),
  [
    (
      ["apple", "leaf", "sky"],
      ["leaf", "sky", "zebra"],
      "the training set of runs/a has the class 'apple', the test set does not; name a data set",
    ),
    (
      ["apple", "leaf"],
      ["apple", "leaf", "sky"],
      "the test set has the class 'sky', the training set of runs/a does not",
    ),
    (["0", "1"], ["0", "01"], "the training set of runs/a has the class '1'"),
  ],
)
def test_the_first_name_that_differs_is_named_with_its_side(trained, tested, message):
  with pytest.raises(UserError, match=message):
    columns(trained, tested)


@pytest.mark.parametrize(
  ("tested", "said"),
  [
    (WORDS, "the order of their numbers: 0, 1, 2, ..."),
    (["7", "30", "-1"], "the order of their numbers: -1, 7, 30"),
    (["sky", "apple"], "the order of the data set: sky, apple"),
    (["10", "9", "cat"], "the order of the data set: 10, 9, cat"),
  ],
)
def test_without_names_numbers_are_taken_in_their_order_and_others_as_they_stand(tested, said):
  found = columns(None, tested)
  output_of = dict(zip(tested, found.columns, strict=True))
  in_order = sorted(tested, key=int) if "number" in said else tested
  assert [output_of[name] for name in in_order] == list(range(len(tested)))
  assert found.assumed.startswith("the names of the classes of runs/a are not known: its outputs")
  assert found.assumed.endswith(said) and "\n" not in found.assumed


def test_without_names_another_count_is_refused():
  with pytest.raises(UserError, match="runs/a tells 1000 classes apart, the test set has 12; name"):
    columns(None, WORDS, outputs=1000)


def test_numbers_beyond_64_bits_are_numbers():
  assert columns(None, [str(2**70), "3"]).columns.tolist() == [1, 0]
  assert np.issubdtype(columns(None, ["3", "1"]).columns.dtype, np.integer)
