"""Degradation: deeper plain nets train worse, deeper residual nets do not

python -m resnet_jax.study --config=configs/study/degradation.py --workdir=runs/degradation
"""

from configs.sweeps import depth
from resnet_jax.study import Panel, Study, Sweep

PANELS = [
  Panel("train", "training error, %", "depth", "layers"),
  Panel("test", "test error, %", "depth", "layers"),
  Panel("training_loss", "loss of the last steps", "depth", "layers", log=True),
  Panel("train_loss", "loss of the training set", "depth", "layers", log=True),
]

GUESS = """
Plain nets: 20 and 32 layers reach a training error of 0 to 1 %, 44 layers 2 to 5 %, 56 layers 10 to
20 %, and 110 layers stay at chance, 90 %. The test error is 2 to 3 points above the training error
and grows with it, so what fails is training, not generalization. Residual nets: 0 % training error
at every depth, 1.5 to 3 % test error without a trend in depth. The training loss says more than the
error: that of plain nets grows tenfold from 20 to 56 layers, that of residual nets stays within a
factor of 2.
"""

READING = """
A point is a net, a line goes through the depths: the nets and the recipe of the depth sweep, with
one seed to be done sooner (--seeds=3 takes three, --run=FOLDER a sweep that is there). Training and
test error are of the whole sets. A line that rises in the first diagram is degradation: the deeper
net fits its own training images less well; what rises only in the second would be overfitting. The
loss of the last steps is by batch statistics, as a training curve ends; that of the training set is
by BN's running averages.
"""

FOUND = """
Residual nets are as expected: no training error at any depth, a test error of 0.3 to 1.7 % without
a trend, a training loss of 0.0020 to 0.0038. Plain nets degrade, and far sooner than I guessed: 20
layers have 0.2 % training error, 32 and 44 have 52 and 51 %, 56 and 110 have 89 and 88 %, which is
chance. Their test errors are 1.5 to 7.4 points above, so it is training that fails. Between 32 and
44 layers, and between 56 and 110, one seed gives no order.

Why sooner: the loss of the last steps is 1.45 at 32 layers and 1.16 at 44. These nets have not
learnt, though they are not at chance (2.30) either; I had expected nets that are nearly done. They
take 1,440 steps, where the 64,000 of [R] let plain-56 still learn; here plain-56 ends at 2.301, as
if it had not begun.

Not expected at all is the last diagram: by running averages plain-110 has a loss of 284,318, by
batch statistics 2.25 in its last steps. Its error is chance either way, but its two modes of BN no
longer are the same net; the study of normalization looks into that.
"""


def get_study(data: str = "digits") -> Study:
  """`data`: digits, cifar10, cifar100, or another prepared TFDS set."""
  sweep = depth.get_sweep(data)
  rows = [row for row in sweep.rows if row.group in ("plain", "residual")]
  texts = {"guess": GUESS, "reading": READING, "found": FOUND}
  return Study(
    "degradation", Sweep(sweep.base, rows, seeds=1), PANELS, trained=True, by_group=True, **texts
  )
