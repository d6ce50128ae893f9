"""What a run is judged by: one number of its task, with its unit and its direction."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Metric(NamedTuple):
  """A number that a task measures of a split.

  Attributes:
    name: its key in rows and results.
    label: what texts and pictures call it; the name where it is empty.
    unit: such as "%".
    lower_is_better: whether the best is the least.
    digits: behind the point, in texts.
    counted: whether it is a share, in percent, of examples that can be counted.
    logged: whether the rows of a run have it; `--mode=eval` prints the others as well.
  """

  name: str
  label: str = ""
  unit: str = ""
  lower_is_better: bool = True
  digits: int = 4
  counted: bool = False
  logged: bool = True

  @property
  def title(self) -> str:
    """The label, or else the name in words."""
    return self.label or self.name.replace("_", " ")

  def heading(self, data: str = "") -> str:
    """For columns and axes: "error (%)", "error on CIFAR-10 (%)"."""
    on = f" on {data}" if data else ""
    unit = f" ({self.unit})" if self.unit else ""
    return f"{self.title}{on}{unit}"

  def text(self, value: float) -> str:
    """The value with its unit: "5.20 %"."""
    return f"{value:.{self.digits}f} {self.unit}".rstrip()

  def better(self, value: float, than: float | None) -> bool:
    """Whether a value is better than another; any is better than none."""
    return than is None or (value < than if self.lower_is_better else value > than)

  def best(self, values: Iterable[float]) -> float | None:
    """The best of the values; None of none."""
    return (min if self.lower_is_better else max)(values, default=None)


LOSS = Metric("loss")
ERROR = Metric("error", unit="%", digits=2, counted=True)


def named(name: str, known: Iterable[Metric]) -> Metric:
  """The metric of that name; one without a unit where none is known."""
  return next((metric for metric in known if metric.name == name), Metric(name))


def of_result(result: Mapping[str, Any] | None) -> Metric:
  """The headline of the run that wrote this `result.json`; older ones, without it, classify."""
  return Metric(**result["headline"]) if result and "headline" in result else ERROR


def tested(result: Mapping[str, Any]) -> float:
  """The value of the headline at the end of a run that is done, from its `result.json`."""
  return result[f"test_{of_result(result).name}"]


def in_words(metrics: Iterable[Metric], values: Mapping[str, float], examples: int = 0) -> str:
  """The values in a line: "error 5.20 %, loss 0.2100"; with the number of `examples`, a share is
  counted as well: "error 5.20 % (52 of 1000)".
  """
  parts = []
  for metric in metrics:
    value = values[metric.name]
    count = f" ({round(value * examples / 100)} of {examples})"
    counted = examples and metric.counted
    parts.append(f"{metric.title} {metric.text(value)}{count if counted else ''}")
  return ", ".join(parts)
