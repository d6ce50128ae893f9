"""The words of a study file. It defines `get_study`, which returns a `Study`:

    def get_study(data="digits"):
      rows = [row("identity"), row("1x1 conv", {"model.shortcut": "conv"})]
      sweep = Sweep(f"configs/resnet.py:depth=20,{data}", rows, seeds=1)
      return Study("propagation", sweep, [Panel("gradient", "size of dE/dx", log=True)])

What it measures is a function that is registered by `study`; examples/largest_weights.py has one.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resnet_jax.errors import UserError
from resnet_jax.registry import Registry
from resnet_jax.sweep.rows import Sweep

# Functions of a `Net`, and of what a study file sets; they give the rows of a table as dicts.
STUDIES = Registry("study", "")
study = STUDIES  # as a decorator


def require_units(config: Any) -> None:
  """Raises a UserError unless the network of a config consists of units f(h(x) + F(x))."""
  if config.model.name != "resnet":
    raise UserError(
      f"config.model.name={config.model.name!r} has no units f(h(x) + F(x)) to look into; take "
      "model.name='resnet'"
    )


def require_classification(config: Any) -> None:
  """Raises a UserError unless the network of a config classifies."""
  if config.task.name != "classification":
    raise UserError(
      f"config.task.name={config.task.name!r} has no errors to count; take "
      "task.name='classification'"
    )


def requires(*checks: Callable[[Any], None]) -> Callable[..., Any]:
  """Of a study: networks whose config a check refuses are refused before they are trained."""

  def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
    def check(config: Any) -> None:
      for one in checks:
        one(config)

    function.check = check  # type: ignore[attr-defined]
    return function

  return decorate


@dataclasses.dataclass(frozen=True)
class Panel:
  """A diagram: the column `y` of what a study measures, over the column `x`.

  Attributes:
    y: a column.
    label: of its axis.
    x: a column.
    x_label: of its axis; the column's name if it is empty.
    log: whether the axis of y is logarithmic.
    log_x: whether that of x is.
    told: which value of a line stands in the table: the first, last, least or most; empty: none.
    limits: of the axis of y; None: as the values go.
    points: whether only points are drawn, as where x says nothing of an order.
  """

  y: str
  label: str
  x: str = "unit"
  x_label: str = ""
  log: bool = False
  log_x: bool = False
  told: str = "last"
  limits: tuple[float, float] | None = None
  points: bool = False


@dataclasses.dataclass(frozen=True)
class Study:
  """What is measured of which networks, and how it is drawn.

  Attributes:
    measure: the name of a registered study.
    sweep: the networks: a row each, over a base config. The rows of a group are drawn together.
    panels: of the figure.
    trained: whether the networks are trained first; else they are measured as initialized.
    batch: how many training images are measured on.
    by_group: whether a line is a group, of which each row is one point; else a line is a row.
    settings: arguments of the registered function.
    guess: what the author expected to see, written before the study was first run.
    found: where the guess was wrong, and what explains it.
    reading: how to read the figure.
  """

  measure: str
  sweep: Sweep
  panels: Sequence[Panel]
  trained: bool = False
  batch: int = 32
  by_group: bool = False
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  guess: str = ""
  found: str = ""
  reading: str = ""
