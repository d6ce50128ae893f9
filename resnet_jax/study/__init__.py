"""Studies: what happens inside of networks, measured on a list of them and drawn on a page.

    python -m resnet_jax.study --config=configs/study/propagation.py --workdir=runs/propagation

The words of a study file are in `words`; `net` is what a study is given, `watch` lets it look into
the units, `run` measures and keeps, `page` draws. The studies themselves are in `measures/`.
"""

from resnet_jax.study.words import Panel, Study, study
from resnet_jax.sweep.rows import Row, Sweep, grid, group, row, zipped

__all__ = ["Panel", "Row", "Study", "Sweep", "grid", "group", "row", "study", "zipped"]
