"""Initialization: the variance of a signal and of its gradient, by layer ([M] 2.2, [T])

python -m resnet_jax.study --config=configs/study/initialization.py --workdir=runs/initialization
"""

from resnet_jax.study import Panel, Study, Sweep, group, row

INITS = {
  "Xavier": "xavier",
  "MSRA": "msra",
  "MSRA, fan-out": "msra_fan_out",
  "LeCun": "lecun",
  "orthogonal": "orthogonal",
  "PyTorch's default": "pytorch",
}
ACTIVATIONS = {"linear": "linear", "ReLU": "relu", "PReLU": "prelu"}
NETS = [row(name, {"model.init": init}) for name, init in INITS.items()]
DEPTHS = [
  row(f"{name}, {layers} layers", {"model.init": INITS[name], "model.plain.layers": layers})
  for name in ("Xavier", "MSRA")
  for layers in (10, 50)
]
NET = {"model.plain.layers": 30, "model.plain.width": 64}
RATIOS = (0.1, 10.0)
PANELS = [
  Panel("signal", "Var[y]", "layer", log=True),
  Panel("signal_formula", "Var[y] by the formula", "layer", log=True),
  Panel("signal_ratio", "Var[y], measured over formula", "layer", log=True, limits=RATIOS),
  Panel("gradient", "Var[dE/dx]", "layer", log=True, told="first"),
  Panel(
    "gradient_ratio",
    "Var[dE/dx], measured over formula",
    "layer",
    log=True,
    told="first",
    limits=RATIOS,
  ),
  Panel(
    "noise_ratio",
    "of a gradient of noise, over formula",
    "layer",
    log=True,
    told="first",
    limits=RATIOS,
  ),
]


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  rows = []
  for name, activation in ACTIVATIONS.items():
    rows += group(f"{name}, 30 layers", NETS, NET | {"model.plain.activation": activation})
  rows += group("ReLU, by depth", DEPTHS, NET)
  sweep = Sweep(f"configs/plain.py:{data}", rows, seeds=3)
  texts = {"guess": GUESS, "reading": READING, "found": FOUND}
  return Study("initialization", sweep, PANELS, **texts)


READING = """
Every diagram goes from the first layer at the left to the last at the right; read those of the
gradient from the right to the left. On their logarithmic axes a constant factor per layer is a
straight line, and a level line is a healthy net. "Over formula" is 1 where the formula holds; it
holds for the mean over all draws of the weights, and each line is the median of three draws.
"""

FOUND = """
The slopes are those expected. From the first layer to the 30th, linear layers leave 0.10 of the
variance from Xavier, which is what the borders take, 8 % a layer; MSRA multiplies it by 6e7,
PyTorch's default by 1.5e-15. With ReLU MSRA leaves 0.07, Xavier 1.6e-10, PyTorch's default 2e-24;
PReLU leaves 0.7 from MSRA. I had counted 30 factors where there are 29 between 30 layers.

The spread is larger than expected. Linear layers are within 0.81 and 1.17 of the formula at all 30
layers. With ReLU single draws are between 0.57 and 3.1 times the formula within the first ten
layers, and between 0.24 and 4.6 over all 30; orthogonal weights are no closer (0.36 to 3.1). The
formula is about the mean over draws: the tests draw 192 nets and find it within the sampling error.

The gradient of the loss does not follow its formula through ReLU. At the first layer it is 2.4 to
3.1 times as large with ReLU (medians of each initialization), and 2.1 to 3.3 times with PReLU, but
0.6 to 0.8 times with linear layers, where single draws go from 0.3 to 1.1. The formula takes the
gradient for independent from one position to the next. The loss's begins equal at all positions of
an image, because the classifier reads their mean, and ReLUs of neighbours are open together. The
last diagram tests that: a gradient that begins as noise, different at each position, ends within
0.9 and 1.2 of the formula (1.3 with PReLU) at the first layer of 30; of 50, the median of three
draws is 2, where the loss's is 3. This does not change the order: a factor of 3 is less than what
two layers of Xavier take.

Not expected either: from the second layer to the image the gradient jumps up with MSRA and LeCun.
The first layer has 9 inputs and 576 outputs; what is right for the one is 64 times too much for the
other.
"""

GUESS = """
With linear layers Xavier, LeCun and orthogonal keep n Var[w] = 1, so only the borders of the 8x8
map lose: the zeros around it take 8 % of the variance at each layer, which leaves 0.09 of it after
30 layers. MSRA grows twofold a layer, to 2^30 times 0.09, about 1e8; PyTorch's default, n Var[w] =
1/3, falls to 3^-30 times 0.09, about 4e-16. A ReLU takes half at every layer: MSRA stays level but
for the borders, Xavier falls to 2^-30 times 0.09, about 1e-10, PyTorch's default to 6^-30 times
0.09, about 4e-25. PReLU that begins at a = 0.25 is as ReLU, (1 + 1/16)^30 = 6 times more at the
end. Fan-in and fan-out differ in the first layer alone, where MSRA by fan-out begins 64 times
smaller. Gradients mirror the signals: the same slopes from the last layer down to the first.
Measured over formula stays between 0.5 and 2 at 30 layers, and within 10 % over the first ten.
Orthogonal is the closest to its formula.
"""
