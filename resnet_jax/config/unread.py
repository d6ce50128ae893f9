"""The settings that some values of another one leave unread."""

from typing import Any, NamedTuple


class Unread(NamedTuple):
  """Where nothing reads a setting: while the setting `by` has one of `values`."""

  by: str
  values: tuple[Any, ...]  # of a duration, its number
  reader: str = ""  # what reads it; "": set there it is no mistake, as rows of a sweep share it


# The names of models/, which this module does not import as it needs JAX.
AFTER_ADD = (
  "original",
  "bn_after_add",
  "relu_before_add",
  "relu_only_preact",
  "full_preact",
)
UNITS = ("basic", "bottleneck", "single")
SHORTCUTS = (
  "identity",
  "scaling",
  "exclusive_gating",
  "shortcut_gating",
  "conv",
  "dropout",
  "none",
)


def _of_shortcuts(*names: str) -> Unread:
  others = tuple(name for name in SHORTCUTS if name not in names)
  return Unread("model.shortcut", others, " and ".join(names))


_OF_STEPS = Unread("optim.schedule", ("cosine", "constant"), "optim.schedule=step")
_OF_WARMUP = Unread("optim.warmup", (0,), "an optim.warmup of a step or more")
UNREAD = {
  "data.dir": Unread("data.name", ("digits",), "photographs and the sets of TFDS"),
  "model.dropout_rate": _of_shortcuts("dropout"),
  "model.gate_bias": _of_shortcuts("exclusive_gating", "shortcut_gating"),
  "model.projection": Unread("model.shortcut", ("conv", "none")),
  "model.residual_scale": _of_shortcuts("scaling"),
  "model.shortcut_scale": _of_shortcuts("scaling"),
  "model.stride_on": Unread("model.unit", ("basic", "single"), "model.unit=bottleneck"),
  "optim.drop_at": _OF_STEPS,
  "optim.drop_factor": _OF_STEPS,
  "optim.nesterov": Unread("optim.momentum", (0,), "an optim.momentum above 0"),
  "optim.warmup_learning_rate": _OF_WARMUP,
  "optim.warmup_schedule": _OF_WARMUP,
}
# optim.drop_at of the recipes in configs/common.py, which is nobody's mistake where a run is cut
# short or takes another schedule.
DROPS = {
  "paper": "30 epochs, 60 epochs, 90 epochs",
  "torch": "30 epochs, 60 epochs",
  "large_batch": "30 epochs, 60 epochs, 80 epochs",
}
