"""Set 1: what if h is not the identity? ([I] table 1)

python -m resnet_jax.sweep --config=configs/sweeps/shortcuts.py --workdir=runs/shortcuts
python -m resnet_jax.sweep --config=configs/sweeps/shortcuts.py:digits --workdir=runs/shortcuts
"""

from resnet_jax.sweep import Sweep, row


def get_sweep(data: str = "cifar10") -> Sweep:
  """`data`: cifar10, cifar100, digits, or another prepared TFDS set."""
  return Sweep(
    base=f"configs/resnet.py:depth=110,{data}",
    rows=[
      row("original"),
      row("constant scaling 0, 1", {"model.shortcut": "none"}),
      row("constant scaling 0.5, 1", scaling(0.5, 1.0)),
      row("constant scaling 0.5, 0.5", scaling(0.5, 0.5)),
      row("exclusive gating, bias 0", gating("exclusive", 0.0)),
      row("exclusive gating, bias -6", gating("exclusive", -6.0)),
      row("exclusive gating, bias -7", gating("exclusive", -7.0)),
      row("shortcut-only gating, bias 0", gating("shortcut", 0.0)),
      row("shortcut-only gating, bias -6", gating("shortcut", -6.0)),
      row("1x1 conv shortcut", {"model.shortcut": "conv"}),
      row("dropout shortcut", {"model.shortcut": "dropout"}),
    ],
    seeds=3 if data == "digits" else 5,
  )


def scaling(shortcut: float, residual: float):
  """The overrides for constant factors on x and on F."""
  return {
    "model.shortcut": "scaling",
    "model.shortcut_scale": shortcut,
    "model.residual_scale": residual,
  }


def gating(kind: str, bias: float):
  """The overrides for a gate whose bias starts at `bias`."""
  return {"model.shortcut": f"{kind}_gating", "model.gate_bias": bias}
