"""Propagation: how a signal and its gradient go through the units ([I] 2 and 3)

python -m resnet_jax.study --config=configs/study/propagation.py
python -m resnet_jax.study --config=configs/study/propagation.py:cifar10 --workdir=runs/propagation
"""

from configs.sweeps import after_add, shortcuts
from resnet_jax.study import Panel, Study, Sweep, group

RESNET_110 = {"model.depth": 110}
RESNET_1001 = {"model.depth": 1001, "model.unit": "bottleneck", "model.projection": "B"}
PANELS = [
  Panel("signal", "size of x", log=True, told="last"),
  Panel("added", "F, of the sum", told="last"),
  Panel("gradient", "size of dE/dx", log=True, told="first"),
  Panel("arrives", "dE/dx with F constant, of the last", log=True, told="first"),
  Panel("through", "product of h(x) over x", log=True, told="last"),
  Panel("largest", "largest singular value of a unit", log=True, told="last"),
]

GUESS = """
Full pre-activation: the whole gradient of x_L arrives at every unit, but for a factor of 0.7 at
each of the two changes of shape, where projection A drops half of the channels. x grows as the
square root of the depth, so that each F adds less and less. Original units lose to their ReLU
what is negative: I expect that a tenth to a fifth of the gradient arrives at unit 1 of 54, and
less of 333.

Scaling by 0.5 and a gate that begins half open halve it at every unit: 1e-16 arrives over 54
units. Dropout keeps half of the squares: 1e-8. Gates that begin with a bias of -6 or -7 leave it
as it is. A 1x1 convolution has a gain of the square root of 2, of which the ReLU behind takes
back a part: a gradient of the right size, in another direction. The whole gradient, through all F
as well, should stay within a factor of ten of its last value in each of these nets, since every F
ends in a BN. So the share that arrives should order the shortcuts as the errors of [I] do, and
the size of the gradient should not.
"""

READING = """
Every diagram goes from the first unit at the left to the last at the right, and all nets are as
initialized. Read the two of the gradient from the right to the left: the lower one shows what is
left of dE/dx_L if every F is held constant, so that all that arrives came through h and f. A line
that is flat there is a net whose shortcuts let the gradient through; where "product of h(x) over
x" is flat as well, they let the signal through.
"""


FOUND = """
At 110 layers what arrives through h and f (0.35, 0.32, 0.21 and 0.041) tells the four shortcuts of
set 1 that [I] trains to less than 10 % from the seven that end above 12 % (2.7e-4 and less). It
does not order them: the exclusive gates of bias -7 and -6 let most through and end 2 to 3 points
behind the identity, as F is then 0.4 to 1.2 % of the last sum. With scaling and dropout nothing
arrives, not 1e-16: each ReLU behind an addition closes some entries, and after some twenty units
none is left that all have open.

The guess was wrong about the whole gradient: it does not stay within a factor of ten. In the nets
whose shortcut is blocked it grows from the last unit to the first by 4e4 to 8e6, as in the plain
net, 3e6. With the shortcut blocked x does not grow, F is 0.8 to 1 of every sum, and a unit's
largest singular value stays near 4 to the end, where the identity's is 1.6; the root mean square of
all of them (`mean` in numbers.csv) is 1.1 to 1.4 for scaling and for the plain net, and 1.25^53 is
1e5. Dropout is the exception, 1e3, and fails in [I] all the same. At 1001 layers this gradient is
not finite in float32 for all seven that are blocked; it is 7e21 with shortcut-only gating of
bias -6, where 1e-7 arrives, and 7e6 with the identity, where 5e-4 does.

It was wrong about full pre-activation, too: 0.025 arrives, not half. Within a stage the line is
flat, as expected, but it falls 7 and 6 times at the two changes of shape. There both paths begin
behind BN and ReLU (the released code), and BN divides the gradient by the deviation of the sum,
which has grown over the stage: not the projection takes it. ReLU before addition and ReLU-only, in
which no BN stands before the paths split, keep 0.51 and 0.42. That is why depth costs full
pre-activation little: of 333 units 0.012 arrives, 25 times as much as in the original net, which
loses a part at every unit.
"""


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  set_1, set_2 = shortcuts.get_sweep(data).rows, after_add.MAPPINGS
  rows = group("ResNet-110, h of set 1", set_1, RESNET_110)
  rows += group("ResNet-110, f of set 2", set_2, RESNET_110)
  rows += group("ResNet-1001, h of set 1", set_1, RESNET_1001)
  rows += group("ResNet-1001, f of set 2", set_2, RESNET_1001)
  sweep = Sweep(f"configs/resnet.py:{data}", rows, seeds=1)
  return Study("propagation", sweep, PANELS, guess=GUESS, reading=READING, found=FOUND)
