"""Lesion: networks whose units are removed or swapped after training (Veit et al. 2016)

python -m resnet_jax.study --config=configs/study/lesion.py
python -m resnet_jax.study --config=configs/study/lesion.py:cifar10 --workdir=runs/lesion
"""

from resnet_jax.study import Panel, Study, Sweep, row

NETS = [
  row("plain-20", {"model.depth": 20, "model.shortcut": "none"}),
  row("ResNet-20", {"model.depth": 20}),
  row("ResNet-56", {"model.depth": 56}),
  row("pre-activation 56", {"model.depth": 56, "model.after_add": "full_preact"}),
  row("ResNet-110", {"model.depth": 110}),
]
FULL = (0.0, 102.0)
PANELS = [
  Panel("without", "error without one unit, %", x_label="the unit", limits=FULL, told="most"),
  Panel("added", "size of F, of that of the sum", x_label="the unit", told="most"),
  Panel("error", "error without so many, %", "removed", "units removed", limits=FULL),
  Panel("swapped", "error after swaps, %", "swaps", "pairs of units swapped", limits=FULL),
]

GUESS = """
Intact, all five nets should err on 0.5 to 2 % of the test digits; chance is 90 %. Without any one
of its 7 removable units plain-20 should be near chance, 70 to 90 %, as every layer was trained on
what the layer before it puts out. ResNet-20 should lose 2 to 20 % to most units, and about 40 % to
those that change the shape and to the first. ResNet-56, pre-activation 56 and ResNet-110 should
not notice most units (less than 2 %), and show small peaks of 5 to 15 % at units 1, 10 and 19 of 27
and at 1, 19 and 37 of 54.

With k random units removed, the error should grow smoothly: 30 % at 2 and 80 % at 5 of 9 for
ResNet-20; 10 % at 5 and 50 % at 10 of 27; 5 % at 10 and 50 % at 20 of 54. Plain-20 should be at
chance from the first one. Swaps should do less harm than removals: 5 % after 10 swaps in
ResNet-110, 10 % after 5 in those of 56 layers, but 70 % after one swap in plain-20.
"""

READING = """
Each net is trained as usual; units are then removed or swapped without any further training, and BN
keeps its running averages. A residual unit is removed by dropping F, a plain one by passing its
input on; units 4 and 7 of plain-20 change the shape and cannot be removed, so that its line has 7
points. In the last two diagrams lines are medians over 10 random draws, bands go from the least to
the most of them, and 0 is the intact net. The first unit of a stage is never swapped. With 20
layers that leaves one pair in a stage, so that a second swap may undo the first.
"""

FOUND = """
Plain-20 is as expected: 82 to 99 % without any one unit, and 90 %, chance, after one swap. Residual
nets stand more than I thought. ResNet-20 errs on 0.8 to 2.8 % without any one of its units (1.4 %
intact), where I expected 2 to 40 %. ResNet-56 misses units 1 and 19 (13.6 and 21.1 %; 0.3 %
intact), and ResNet-110 units 1 and 37 (12.8 and 15.0 %; 1.1 % intact); no other unit costs more
than 3.4 points, not even the first of stage 2, where I expected a peak. The pre-activation net
misses units 10 and 19 more than I expected: 61 and 76 %.

The second diagram explains where the peaks are: a unit is missed if F is a large part of the sum.
In the pre-activation net F of units 1, 10 and 19 has 0.76 to 0.80 of the size of the sum, where the
median unit has 0.13: x begins anew where BN and ReLU come before the paths split. In the original
nets F is largest in units 1 and 19 of 27 (0.56 and 0.35; median 0.20), and 1 and 37 of 54 (0.39 and
0.29; median 0.13), and those are the peaks. What it does not explain is that ResNet-20 can do
without an F of 0.58.

Without several units the error grows smoothly, with 20 and 56 layers later than expected: 1.8 % at
2 and 21 % at 5 of 9; 6.5 % at 5 and 30 % at 10 of 27. ResNet-110 is near the guess: 1.4 % at 5, 7.6
% at 10 and 50 % at 20 of 54. The pre-activation net depends most on which units are drawn: without
5 it has 1.1 to 90 %. Swaps harm less than expected: the median is 1.4 % after 10 and 5.8 % after 50
in ResNet-110, and no draw exceeds 1.7 % in the pre-activation net, or 9.4 % in ResNet-56.
"""


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  return Study(
    "lesion",
    Sweep(f"configs/resnet.py:{data}", NETS, seeds=1),
    PANELS,
    trained=True,
    guess=GUESS,
    reading=READING,
    found=FOUND,
  )
