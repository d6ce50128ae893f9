"""Many runs from one file: a base config and a list of named overrides.

    python -m resnet_jax.sweep --config=configs/sweeps/shortcuts.py:digits --workdir=runs/shortcuts

What a sweep file says is in `rows`, what it comes to in `plan`.
"""

from resnet_jax.sweep.rows import Row, Sweep, grid, group, row, zipped

__all__ = ["Row", "Sweep", "grid", "group", "row", "zipped"]
