"""Which output of a network stands for which class of a data set.

Classes are matched by their names. Where a network's are not known, as those of imported weights,
its outputs are counted, and what is assumed of their order is said.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.errors import UserError

ANOTHER = "name a data set of the run's classes with --config"


class Order(NamedTuple):
  """`columns` int [classes]: of each class of a data set, the network's output for it. `assumed`
  says in one line what the names did not tell; empty where they told all.
  """

  columns: np.ndarray
  assumed: str = ""


def order(
  run: str, trained: Sequence[str] | None, outputs: int, data: str, tested: Sequence[str]
) -> Order:
  """Brings the outputs of a network into the order of a data set's classes.

  Args:
    run: the folder of the network, for messages.
    trained: the names of its classes in the order of its outputs; None where they are not known.
    outputs: how many it has.
    data: what a message calls the data set.
    tested: the names of the data set's classes.

  Raises:
    UserError: the names differ, or without names their number does.
  """
  if trained is not None:
    return Order(matched(f"the training set of {run}", trained, data, tested))
  if outputs != len(tested):
    raise UserError(f"{run} tells {outputs} classes apart, {data} has {len(tested)}; {ANOTHER}")
  numbers = [int(name) for name in tested if name.removeprefix("-").isdecimal()]
  numeric = len(numbers) == outputs
  first = sorted(range(outputs), key=numbers.__getitem__) if numeric else list(range(outputs))
  names = ", ".join(tested[index] for index in first[:3]) + (", ..." if outputs > 3 else "")
  return Order(
    np.argsort(first),
    f"the names of the classes of {run} are not known: its outputs are taken for the classes of "
    f"{data} in the order of {'their numbers' if numeric else 'the data set'}: {names}",
  )


def matched(ours: str, names: Sequence[str], theirs: str, others: Sequence[str]) -> np.ndarray:
  """Where each of the names `others` stands among `names`, int [classes].

  Raises:
    UserError: one side has a name that the other has not; the first such name is quoted.
  """
  places = {name: place for place, name in enumerate(names)}
  known = set(others)
  missing = [(name, ours, theirs) for name in names if name not in known]
  missing += [(name, theirs, ours) for name in others if name not in places]
  for name, has, lacks in missing[:1]:
    raise UserError(f"{has} has the class {name!r}, {lacks} does not; {ANOTHER}")
  return np.array([places[name] for name in others])
