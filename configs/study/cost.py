"""What the papers' nets cost: parameters, multiply-adds, memory and time, against their error.

python -m resnet_jax.study --config=configs/study/cost.py --workdir=runs/cost
"""

from resnet_jax.study import Panel, Study, Sweep, group, row

ORIGINAL = [row(f"ResNet-{depth}", {"model.depth": depth}) for depth in (20, 32, 44, 56, 110)]
BOTTLENECK = {"model.unit": "bottleneck", "model.projection": "B"}
PREACT = [
  row("pre-activation 110", {"model.depth": 110}),
  row("pre-activation 164", BOTTLENECK | {"model.depth": 164}),
  row("pre-activation 1001", BOTTLENECK | {"model.depth": 1001}),
]


def get_study(data: str = "cifar10") -> Study:
  """`data`: cifar10 or cifar100, of which only the shape is taken."""
  nets = group("original", ORIGINAL)
  nets += group("pre-activation", PREACT, {"model.after_add": "full_preact"})
  costs = {
    "multiply_adds": "multiply-adds of an image",
    "params": "parameters",
    "memory": "memory of a step (MB)",
    "step_time": "time of a step (s)",
  }
  return Study(
    "cost",
    Sweep(f"configs/resnet.py:{data}", nets, seeds=1),
    [
      Panel("error", "test error (%)", x, label, log_x=True, points=True)
      for x, label in costs.items()
    ],
    batch=8,
    by_group=True,
    guess=GUESS,
    reading=READING,
    found=FOUND,
  )


GUESS = """
Within each line the error falls with every one of the four costs, and ever more slowly: from 20
to 56 layers three times the multiply-adds (41 to 125 million) take 1.8 points, from 56 to 110
twice as many take 0.4. Pre-activation 164 and original 110 have the same multiply-adds (250
million) and parameters (1.7 million), and 164 is 1.1 points better. It pays with memory, twice
that of 110, since its maps are four times as wide, and with time, 1.7 times that of 110, since
1x1 convolutions read more than they compute.

1001 layers take six times the multiply-adds and parameters of 164 for half a point. A step of 8
images takes about 0.03 s with 20 layers, 0.2 s with 110, 0.35 s with 164 and 2.2 s with 1001; its
memory is 10, 50, 100 and 700 MB. By time and memory the pre-activation line starts to the right
of where it does by multiply-adds, so the original nets are the cheaper ones up to 110 layers.
"""
READING = """
Each point is a net: its published test error on CIFAR-10, or its own if it is a run's, against
what it costs. Memory is the peak of one training step as the compiler plans it, weights and
momentum included; time is that of the fastest of thirty steps on random images of that shape, on
this machine. A point to the lower left of another is better at less cost.
"""
FOUND = """
Errors, parameters and multiply-adds are as expected, as they are printed. A step takes more memory
than was guessed, by a tenth to a half: 14 MB with 20 layers, 77 with 110, 127 with 164 and 752 with
1001. It takes less time, 0.02, 0.17, 0.20 and 1.25 s; in another run of the same command 110 took
0.14 s and 164 took 0.23 s.

Against original 110, 164 takes 1.6 times the memory, not twice, and 1.2 or 1.6 times the time in
the two runs, not 1.7: its 1x1 convolutions read more than they compute, but it has half of the 3x3
ones. Pre-activation 110 takes 57 MB and 0.13 s at the multiply-adds of original 110, which takes 77
and 0.14 to 0.17. The ReLU behind the addition is the likely reason, not measured apart: to keep one
map more of each unit would take 16.5 of these 20 MB. So the line of pre-activation does not begin
to the right of the original's end by memory or time, but to its left.
"""
