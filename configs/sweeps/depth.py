"""Deeper: plain against residual nets, original against pre-activation units ([R] 4.2, [I] table 3)

python -m resnet_jax.sweep --config=configs/sweeps/depth.py --workdir=runs/depth
python -m resnet_jax.sweep --config=configs/sweeps/depth.py:digits --workdir=runs/depth
"""

from resnet_jax.sweep import Row, Sweep, group, row

BOTTLENECK = {"model.unit": "bottleneck", "model.projection": "B"}
UNITS = [
  row("original", {"model.after_add": "original"}),
  row("full pre-activation", {"model.after_add": "full_preact"}),
]


def get_sweep(data: str = "cifar10") -> Sweep:
  """`data`: cifar10, cifar100, digits, or another prepared TFDS set."""
  return Sweep(
    base=f"configs/resnet.py:{data}",
    rows=group("plain", depths(20, 32, 44, 56, 110), {"model.shortcut": "none"})
    + group("residual", depths(20, 32, 44, 56, 110))
    + group("ResNet-110, one-layer units", UNITS, {"model.unit": "single", "model.depth": 110})
    + group("ResNet-164", UNITS, BOTTLENECK | {"model.depth": 164})
    + group("ResNet-1001", UNITS, BOTTLENECK | {"model.depth": 1001}),
    seeds=3 if data == "digits" else 5,
  )


def depths(*numbers: int) -> list[Row]:
  """A row for each depth."""
  return [row(f"{number} layers", {"model.depth": number}) for number in numbers]
