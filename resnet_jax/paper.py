"""The published numbers, to print beside ours; found by what a net is, never by its name.

[R] is Deep Residual Learning (1512.03385), [I] Identity Mappings (1603.05027), [T] the ICML 2016
tutorial, which rounds them; `release` are the authors' Caffe models, `Torch` is the Torch release.
Errors are in percent, of the test set on CIFAR and of the validation set on ImageNet.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from resnet_jax.config import default_config, leaves
from resnet_jax.config.settings import SETTINGS, having, idle

STEPS, BATCH = 64_000, 128  # of every CIFAR run but those with a remark ([R] 4.2)
FAIL = 20.0  # a test error above this on CIFAR-10 is printed as "fail" ([I] table 1)

DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}

_DEFAULTS = default_config().model.to_dict()


@dataclasses.dataclass(frozen=True)
class Published:
  """One number of a table, with what it was measured on."""

  net: Mapping[str, Any]  # as `net` gives it
  data: str
  error: float  # with `fail` a bound that the error exceeds
  source: str
  letter: str = ""  # the row's, in the sets of [I]
  fail: bool = False
  mean: float | None = None  # with `deviation`, over 5 runs
  deviation: float | None = None
  test: str = ""  # on ImageNet: single crop 224, single crop 320, 10-crop, multi-scale
  top5: float | None = None
  remark: str = ""

  @property
  def measured_on(self) -> str:
    """The data set, and on ImageNet the way of testing."""
    return ", ".join(filter(None, (DATA[self.data], self.test)))

  @property
  def text(self) -> str:
    """As the paper prints it: 6.61, 4.92 (4.89 ± 0.14), fail."""
    if self.fail:
      return f"fail (> {self.error:g})"
    if self.data == "imagenet":
      return f"{self.error:.{1 if round(self.error, 1) == self.error else 2}f}"  # as printed
    spread = "" if self.mean is None else f" ({self.mean:.2f} ± {self.deviation:.2f})"
    return f"{self.error:.2f}{spread}"


def net(model: Mapping[str, Any]) -> dict[str, Any]:
  """The settings of `config.model` that make the net what it is; what it does not read is left out.

  Missing ones have their defaults. A shortcut scaled by 0 is none, and one by 1 the identity, where
  F is not scaled ([I] table 1 b).
  """
  full = _DEFAULTS | dict(model)
  if full["shortcut"] == "scaling" and full["residual_scale"] == 1:
    full["shortcut"] = {0: "none", 1: "identity"}.get(full["shortcut_scale"], "scaling")
  values = leaves(full, "model.")
  rows = {key: row for key, row in SETTINGS.items() if key in values}
  told = having("paper")
  keys = {*told, *(key for key, row in rows.items() if row.belongs and row.belongs.to in told)}
  if full["name"] != _DEFAULTS["name"]:
    keys.add("model.name")  # a user's, which no paper has
  read = [key for key in rows if key in keys and not idle(rows[key], values)]
  return {key.removeprefix("model."): values[key] for key in read}


def find(model: Mapping[str, Any], data: str) -> list[Published]:
  """What is published of the net of `config.model`; what was measured on `data` comes first.

  Another data set's numbers follow: whoever prints them says so, with `measured_on`.
  """
  wanted = net(model)
  return sorted(
    (entry for entry in PUBLISHED if entry.net == wanted), key=lambda entry: entry.data != data
  )


def _cifar(
  error: float, source: str, letter: str = "", data: str = "cifar10", **model
) -> Published:
  about = {field.name for field in dataclasses.fields(Published)} & model.keys()
  more = {name: model.pop(name) for name in about}
  if source.startswith("[I]"):
    more["remark"] = ", ".join(filter(None, ("median of 5 runs", more.get("remark"))))
  if model.get("unit") == "bottleneck":
    model.setdefault("projection", "B")
  return Published(net(model), data, error, source, letter, **more)


def _set1(error: float, letter: str, **model: Any) -> Published:
  return _cifar(error, "[I] table 1", letter, depth=110, **model)


def _set2(letter: str, after_add: str, resnet110: float, resnet164: float) -> list[Published]:
  row = {"source": "[I] table 2", "letter": letter, "after_add": after_add}
  return [
    _cifar(resnet110, depth=110, **row),
    _cifar(resnet164, depth=164, unit="bottleneck", **row),
  ]


def _imagenet(source: str, test: str, errors: Mapping[int, Any], **model) -> list[Published]:
  """`errors` by depth: (top-1, top-5), or top-1 alone."""
  entries = []
  for depth, error in errors.items():
    top1, top5 = error if isinstance(error, tuple) else (error, None)
    unit = "bottleneck" if depth >= 50 else "basic"
    settings = {"family": "imagenet", "depth": depth, "unit": unit, "projection": "B"} | model
    entries.append(Published(net(settings), "imagenet", top1, source, test=test, top5=top5))
  return entries


_EXCLUSIVE: dict[str, Any] = {"shortcut": "exclusive_gating"}
_DEEP: dict[str, Any] = {"source": "[I] table 3", "unit": "bottleneck"}
_PREACT = {"after_add": "full_preact"}
_DEEP_PREACT = _DEEP | _PREACT | {"source": "[I] tables 3, 4"}
_BATCH_64 = {"remark": "batch 64", "source": "[I] table 4"}

PUBLISHED: tuple[Published, ...] = (
  # Set 1: h(x), ResNet-110; a is the original, stands in set 2.
  _set1(FAIL, "b", fail=True, shortcut="none"),
  _set1(FAIL, "b", fail=True, shortcut="scaling", shortcut_scale=0.5),
  _set1(12.35, "b", shortcut="scaling", shortcut_scale=0.5, residual_scale=0.5),
  *(_set1(FAIL, "c", fail=True, gate_bias=float(bias), **_EXCLUSIVE) for bias in range(-5, 1)),
  _set1(8.70, "c", gate_bias=-6.0, **_EXCLUSIVE),
  _set1(9.81, "c", gate_bias=-7.0, **_EXCLUSIVE),
  _set1(12.86, "d", shortcut="shortcut_gating", gate_bias=0.0),
  _set1(6.91, "d", shortcut="shortcut_gating", gate_bias=-6.0),
  _set1(12.22, "e", shortcut="conv"),
  _set1(FAIL, "f", fail=True, shortcut="dropout", dropout_rate=0.5),
  # Set 2: f and the order in F.
  _cifar(6.61, "[I] tables 1, 2", "a", depth=110),
  _cifar(5.93, "[I] table 2", "a", depth=164, unit="bottleneck"),
  *_set2("b", "bn_after_add", 8.17, 6.50),
  *_set2("c", "relu_before_add", 7.84, 6.14),
  *_set2("d", "relu_only_preact", 6.71, 5.91),
  *_set2("e", "full_preact", 6.37, 5.46),
  # Depth.
  _cifar(9.90, "[I] table 3", depth=110, unit="single"),
  _cifar(8.91, "[I] table 3", depth=110, unit="single", **_PREACT),
  _cifar(7.61, depth=1001, **_DEEP),
  _cifar(4.92, depth=1001, mean=4.89, deviation=0.14, **_DEEP_PREACT),
  _cifar(4.62, depth=1001, mean=4.69, deviation=0.20, **_DEEP_PREACT | _BATCH_64),
  _cifar(25.16, data="cifar100", depth=164, **_DEEP),
  _cifar(24.33, data="cifar100", depth=164, **_DEEP_PREACT),
  _cifar(27.82, data="cifar100", depth=1001, **_DEEP),
  _cifar(22.71, data="cifar100", depth=1001, mean=22.68, deviation=0.22, **_DEEP_PREACT),
  *(
    _cifar(error, "[R] table 6", depth=depth)
    for depth, error in {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 1202: 7.93}.items()
  ),
  _cifar(6.43, "[R] table 6", depth=110, mean=6.61, deviation=0.16, remark="best of 5 runs"),
  _cifar(60.0, "[R] figure 6", depth=110, shortcut="none", fail=True),
  # ImageNet.
  *_imagenet("release", "single crop 224", {50: (24.7, 7.8), 101: (23.6, 7.1), 152: (23.0, 6.7)}),
  *_imagenet("[R] table 2", "10-crop", {18: 27.94, 34: 28.54}, shortcut="none"),
  *_imagenet("[R] table 2", "10-crop", {18: 27.88}, projection="A"),
  *_imagenet("[R] table 3", "10-crop", {34: (25.03, 7.76)}, projection="A"),
  *_imagenet(
    "[R] table 3",
    "10-crop",
    {34: (24.52, 7.46), 50: (22.85, 6.71), 101: (21.75, 6.05), 152: (21.43, 5.71)},
  ),
  *_imagenet("[R] table 3", "10-crop", {34: (24.19, 7.40)}, projection="C"),
  *_imagenet(
    "[R] table 4",
    "multi-scale",
    {34: (21.84, 5.71), 50: (20.74, 5.25), 101: (19.87, 4.60), 152: (19.38, 4.49)},
  ),
  *_imagenet("[R] table 4", "multi-scale", {34: (21.53, 5.60)}, projection="C"),
  *_imagenet("release", "10-crop", {50: (22.9, 6.7), 101: (21.8, 6.1), 152: (21.4, 5.7)}),
  *_imagenet("[I] table 5", "single crop 320", {152: (21.3, 5.5), 200: (21.8, 6.0)}),
  *_imagenet("[I] table 5", "single crop 320", {152: (21.1, 5.5), 200: (20.7, 5.3)}, **_PREACT),
  *_imagenet("[I] table 5", "single crop 320, scale + aspect ratio", {200: (20.1, 4.8)}, **_PREACT),
  *_imagenet(
    "Torch",
    "single crop 224",
    {
      **{18: (30.43, 10.76), 34: (26.73, 8.74), 50: (24.01, 7.02)},
      **{101: (22.44, 6.21), 152: (22.16, 6.16)},
    },
    stride_on="3x3",
  ),
  *_imagenet("Torch", "single crop 224", {200: (21.66, 5.79)}, stride_on="3x3", **_PREACT),
  *_imagenet(
    "Torch",
    "10-crop",
    {
      **{18: (28.22, 9.42), 34: (24.76, 7.35), 50: (22.24, 6.08)},
      **{101: (21.08, 5.35), 152: (20.69, 5.21)},
    },
    stride_on="3x3",
  ),
  *_imagenet("Torch", "10-crop", {200: (20.15, 4.93)}, stride_on="3x3", **_PREACT),
)

# Other nets, CIFAR-10 and CIFAR-100 ([T]; [I] table 4).
OTHERS = {
  "NIN": (8.81, 35.68),
  "DSN": (8.22, 34.57),
  "FitNet": (8.39, 35.04),
  "Highway": (7.72, 32.39),
}
