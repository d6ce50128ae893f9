"""Paths: the gradient by the number of F that it goes through (Veit et al. 2016)

python -m resnet_jax.study --config=configs/study/paths.py
python -m resnet_jax.study --config=configs/study/paths.py --run=runs/resnet56
"""

from resnet_jax.study import Panel, Study, Sweep, row

PREACT = {"model.after_add": "full_preact"}
NETS = [
  row("original 110", {"model.depth": 110}),
  row("pre-activation 56", PREACT | {"model.depth": 56}),
  row("pre-activation 110", PREACT | {"model.depth": 110}),
  row(
    "pre-activation 1001",
    PREACT | {"model.depth": 1001, "model.unit": "bottleneck", "model.projection": "B"},
  ),
]
LENGTH = "length of the path, in F"
PANELS = [
  Panel("share", "of the gradient, %", "length", LENGTH, told=""),
  Panel("counted", "number times size, % of all", "length", LENGTH, told=""),
  Panel("path", "size of one path's, of all", "length", LENGTH, log=True, told=""),
  Panel("passed", "mean number of F, up to the unit", log_x=True),
]

GUESS = """
As initialized, a pre-activation F has the variance 1 whatever x is, and x_l that of 1/2 + l, as
each F adds 1. BN divides the gradient that goes through F by the deviation of x. So the gradient
through unit l has about 1/(l + 1/2) of the square of what the shortcut brings. If the gradients of
different paths are uncorrelated, squares add up, and the length of a path is a sum of independent
coin tosses, of probability 1/(l + 3/2): it grows as the logarithm of the depth. Where projection A
fills up with zeros, half of the channels begin anew; with projection B all do.

Hence the mean lengths that I expect of the exact shares: 5 of 27 units (56 layers), 6 of 54 (110),
13 of 333 (1001), each with a deviation of 2 to 3. The original net of 110 layers should look the
same as the other: about 6. Number times size, as Veit et al. count, adds sizes in place of squares:
about 8, 13 and 48. So 1001 layers would be an ensemble of nets of some 13 units by the exact
share, and counting would take it for nearly four times as deep.
"""

READING = """
The gradient at the first unit's input is the sum over all 2^L paths through L units; a path goes
through the F of some units and through the shortcuts of the others. The first diagram is its exact
decomposition by the number of F on the path: the shares of all lengths add up to 100 %, and a
negative share points against the sum. The second one is what Veit et al. count: the number of paths
of a length times the mean size of the gradient of a single one, of which the third has 8 random
paths for some lengths. The last one adds up how often F of the units 1, 2 ... is on a path, each
path weighted by its share; it ends at the mean length.
"""

FOUND = """
The paths are about twice as long as I expected: 9.6 of 27 F (deviation 2.3), 13.2 of 54 (3.1),
31.3 of 333 (4.6), and 9.7 of 54 (2.7) in the original net. Number times size gives 11, 19, 73, and
17. Squares do add up, as I assumed: those of the sizes of all lengths come to 0.94 to 1.29 of the
whole.

The gain of F was wrong. Behind a ReLU BN subtracts a mean, so that what a convolution in F puts out
has the variance 1 - 1/pi = 0.68 in place of 1: in the first stage 0.67 was measured with 110
layers, and 0.68 with bottlenecks. Each BN divides the gradient by its root, and F adds 0.68 to the
variance of x. Hence unit l of a stage has F on the path with the probability a / (a + b + l), where
a is 0.68^-2 with two convolutions and 0.68^-3 with three, and b follows from the first unit, where
0.71 was measured. That gives 3.2 for a stage of 9 units (measured: 3.2 to 3.3), 4.5 for 18 (4.3 to
4.5), and 10.7 for 111 (10.3 to 10.7).

I also overlooked that a pre-activation unit that changes the shape applies its first BN before the
paths split. So x begins anew in each stage, with projection A as well: the last diagram has three
steps. The original net has none: its stages add 5.7, 2.4 and 1.7. So 1001 layers are, as
initialized, an ensemble of nets of 20 to 41 F, which bring 98 % of the gradient: shallow beside
333, but deeper than what 56 layers are an ensemble of. That depth grows as the logarithm of the
units in a stage.
"""


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  return Study(
    "paths",
    Sweep(f"configs/resnet.py:{data}", NETS, seeds=1),
    PANELS,
    batch=8,
    guess=GUESS,
    reading=READING,
    found=FOUND,
  )
