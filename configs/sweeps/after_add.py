"""Set 2: what if f is the identity? ([I] table 2)

python -m resnet_jax.sweep --config=configs/sweeps/after_add.py --workdir=runs/after_add
python -m resnet_jax.sweep --config=configs/sweeps/after_add.py:digits --workdir=runs/after_add
"""

from resnet_jax.sweep import Sweep, group, row

MAPPINGS = [
  row("original", {"model.after_add": "original"}),
  row("BN after addition", {"model.after_add": "bn_after_add"}),
  row("ReLU before addition", {"model.after_add": "relu_before_add"}),
  row("ReLU-only pre-activation", {"model.after_add": "relu_only_preact"}),
  row("full pre-activation", {"model.after_add": "full_preact"}),
]
RESNET_110 = {"model.depth": 110, "model.unit": "basic"}
RESNET_164 = {"model.depth": 164, "model.unit": "bottleneck", "model.projection": "B"}


def get_sweep(data: str = "cifar10") -> Sweep:
  """`data`: cifar10, cifar100, digits, or another prepared TFDS set."""
  laptop = data == "digits"
  return Sweep(
    base=f"configs/resnet.py:{data}",
    rows=group("ResNet-110", MAPPINGS, RESNET_110, seeds=3 if laptop else 5)
    + group("ResNet-164", MAPPINGS, RESNET_164, seeds=1 if laptop else 5),
  )
