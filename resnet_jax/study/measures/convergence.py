"""How fast a network converges: what its run has logged."""

from collections.abc import Iterator
from typing import Any

from resnet_jax.errors import UserError
from resnet_jax.runs import metrics
from resnet_jax.study.net import Net
from resnet_jax.study.words import study


@study("convergence")
def convergence(net: Net) -> Iterator[dict[str, Any]]:
  """A row for each logged step: what was measured there, with `test_` before what is of the tests.

  Raises:
    UserError: the network has not been trained.
  """
  if net.folder is None:
    raise UserError("convergence is seen in a run's metrics; set trained=True, or name runs: --run")
  for row in metrics.read_rows(net.folder):
    prefix = "" if row["split"] == "train" else f"{row['split']}_"
    values = {key: value for key, value in row.items() if key not in ("step", "split", "timing")}
    yield {"step": row["step"]} | {prefix + key: value for key, value in values.items()}
