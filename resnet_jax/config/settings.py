"""The table of settings: of each its default, help, limits, and what a resume may do with it.

Whatever else is known of settings is derived from these rows: the config's tree, its check, what
nothing reads, a run's identity, `--help`. This module imports nothing of JAX.
"""

from collections.abc import Mapping
from typing import Any

from resnet_jax.config.setting import Belongs, Check, Setting, duration, number, one_of

POSITIVE = Check("above 0", lambda value: value > 0)
NOT_NEGATIVE = Check("0 or more", lambda value: value >= 0)
COUNT = Check("1 or more", lambda value: value >= 1)
SHARE = Check("at least 0 and below 1", lambda value: 0 <= value < 1)
BELOW_ONE = Check("below 1", lambda value: value < 1)
OUTPUT_STRIDE = Check("32, 16 or 8", lambda value: value in (32, 16, 8))
SEED = Check("below 2**32", lambda value: value < 2**32)

# optim.drop_at of the recipes in configs/common.py.
DROPS = {
  "paper": "30 epochs, 60 epochs, 90 epochs",
  "torch": "30 epochs, 60 epochs",
  "large_batch": "30 epochs, 60 epochs, 80 epochs",
}
# `data.normalize` of the training set's own; other kinds are constants.
COMPUTED = ("pixel_mean", "channel_mean_std")
# What else a setting may count as.
ROLES = {
  "depth": "differs between the nets of one line in the figure of depths",
  "exported": "is told in an exported file of weights",
  "host": "may differ between the hosts of a run",
  "lacking": "is not told in weights files of older versions",
  "normalization": "decides a normalization that is computed from the training set",
  "paper": "names a net of the papers",
  "photographs": "is for photographs only",
  "training": "does not matter once the network is trained",
  "weights": "must be alike for weights to mean the same",
  "word": "may be what a bare word behind a config file's colon means",
}


def _shortcut(*names: str) -> Belongs:
  return Belongs("model.shortcut", only=names, text=" and ".join(names))


_RESNET = Belongs("model.name", only=("resnet",), text="model.name=resnet")
_PLAIN = Belongs("model.name", only=("plain",), text="model.name=plain")
_BOTTLENECK = Belongs("model.unit", only=("bottleneck",), text="model.unit=bottleneck")
_STEP = Belongs("optim.schedule", only=("step",), text="optim.schedule=step")
_WARMUP = Belongs("optim.warmup", never=(0,), text="an optim.warmup of a step or more")

# fmt: off
_SHORTCUTS = (
  "identity", "scaling", "exclusive_gating", "shortcut_gating", "conv", "dropout", "none",
)
_ORDERS = ("original", "bn_after_add", "relu_before_add", "relu_only_preact", "full_preact")
# fmt: on

SETTINGS: dict[str, Setting] = {
  "seed": number(
    0,
    "Seed of the weights, the order of the examples, augmentation and dropout.",
    NOT_NEGATIVE,
    SEED,
  ),
  # What the network is trained for.
  "task.name": one_of(("classification",), "Task: the package's, or one of your own."),
  "task.loss": one_of(
    ("cross_entropy",),
    "Loss: the package's, or one of your own.",
    belongs=Belongs("task.name", only=("classification",), text="task.name=classification"),
  ),
  # The network.
  "model.name": one_of(
    ("resnet", "plain"), "Network: the package's, or one of your own.", roles=("weights",)
  ),
  "model.family": one_of(
    ("cifar", "imagenet"),
    "Stem and stages, as the papers have them for CIFAR or for ImageNet.",
    belongs=_RESNET,
    roles=("weights", "exported", "paper"),
  ),
  "model.depth": number(
    110,
    "Layers: convolutions along the main path, and the classifier.",
    belongs=_RESNET,
    roles=("weights", "exported", "paper", "depth"),
  ),
  "model.unit": one_of(
    ("basic", "bottleneck", "single"),
    "Convolutions of F: two 3x3, a bottleneck of three, or a single 3x3.",
    belongs=_RESNET,
    roles=("weights", "exported", "paper", "depth", "word"),
  ),
  "model.shortcut": one_of(
    _SHORTCUTS,
    "Shortcut h(x); see models/shortcuts.py.",
    belongs=_RESNET,
    roles=("weights", "paper", "word"),
  ),
  "model.shortcut_scale": number(1.0, "Factor on the shortcut.", belongs=_shortcut("scaling")),
  "model.residual_scale": number(1.0, "Factor on F.", belongs=_shortcut("scaling")),
  "model.gate_bias": number(
    -6.0,
    "Bias that the gate begins with.",
    belongs=_shortcut("exclusive_gating", "shortcut_gating"),
  ),
  "model.dropout_rate": number(
    0.5, "Probability that dropout sets the shortcut to zero.", SHARE, belongs=_shortcut("dropout")
  ),
  "model.after_add": one_of(
    _ORDERS,
    "Order of the layers in F, and f, which comes after the addition; see models/orders.py.",
    belongs=_RESNET,
    roles=("weights", "paper", "word"),
  ),
  "model.residual": one_of(
    ("always",),
    "Whether F is computed: always, or as a part of your own decides.",
    belongs=_RESNET,
    roles=("weights",),
  ),
  "model.projection": one_of(
    ("A", "B", "C"),
    "Shortcut where the shape changes: A pads with zeros, B is a 1x1 convolution, C is one in "
    "every unit.",
    belongs=Belongs("model.shortcut", never=("conv", "none")),
    roles=("weights", "exported", "depth", "word"),
  ),
  "model.stride_on": one_of(
    ("1x1", "3x3"),
    "Convolution of a bottleneck that has the stride.",
    belongs=_BOTTLENECK,
    roles=("weights", "exported", "depth"),
  ),
  "model.output_stride": number(
    32,
    "Stride of an ImageNet net's last map: 32, or 16 or 8 by dilation.",
    OUTPUT_STRIDE,
    belongs=_RESNET,
    roles=("exported", "lacking"),
  ),
  "model.pool_padding": one_of(
    ("both", "end"),
    "Padding of the ImageNet stem's pool: on both sides, or at the end as in Caffe.",
    belongs=_RESNET,
    roles=("weights", "exported"),
  ),
  "model.init": one_of(
    ("msra", "msra_fan_out", "xavier", "lecun", "orthogonal", "pytorch"),
    "Initialization of the kernels.",
    roles=("training",),
  ),
  "model.dtype": one_of(
    ("float32", "bfloat16", "float64"), "Type of the computation; parameters are float32 at least."
  ),
  "model.kernels": one_of(
    ("auto", "library"),
    "Convolutions on a CPU: by kernels of our own where they can be compiled, or the library's.",
    resume="free",
  ),
  "model.remat": one_of(
    ("none", "norm", "unit"),
    "What the backward pass computes again instead of keeping it: nothing, BN and ReLU, or whole "
    "units.",
    default="norm",
    belongs=_RESNET,
    resume="free",
  ),
  "model.unroll": number(
    1, "Units in one turn of a stage's loop.", COUNT, belongs=_RESNET, resume="free"
  ),
  "model.norm.decay": number(
    0.9, "Decay of BN's running statistics.", SHARE, belongs=_RESNET, roles=("training",)
  ),
  "model.norm.epsilon": number(
    1e-5,
    "Number that BN adds to the variance.",
    POSITIVE,
    belongs=_RESNET,
    roles=("weights", "exported"),
  ),
  "model.norm.group_size": number(
    0,
    "Examples that share BN's statistics; it divides the batch, and 0 is the whole batch.",
    NOT_NEGATIVE,
    belongs=_RESNET,
    roles=("training",),
  ),
  "model.norm.frozen": Setting(
    False, "Whether every BN stays as it is while the weights train.", belongs=_RESNET
  ),
  "model.plain.layers": number(
    22,
    "Convolutions of a plain net without normalization.",
    COUNT,
    belongs=_PLAIN,
    roles=("weights",),
  ),
  "model.plain.width": number(
    16, "Channels of each of its layers.", COUNT, belongs=_PLAIN, roles=("weights",)
  ),
  "model.plain.activation": one_of(
    ("relu", "prelu", "linear"),
    "What follows each of its convolutions.",
    belongs=_PLAIN,
    roles=("weights",),
  ),
  # The data set, and how it is augmented.
  "data.name": Setting(
    "cifar10",
    "Data set: digits, folder or list (photographs on disk), one of your own, or a set of TFDS.",
    roles=("exported", "normalization"),
  ),
  "data.dir": Setting(
    "",
    "Folder of the photographs or the TFDS sets; of the latter TFDS_DATA_DIR if empty.",
    belongs=Belongs("data.name", never=("digits",), text="photographs and the sets of TFDS"),
    resume="sweep",
    roles=("host",),
  ),
  "data.train_split": Setting(
    "train", "Examples to train on, such as train[:90%].", roles=("exported", "normalization")
  ),
  "data.test_split": Setting("test", "Examples to test on.", roles=("exported",)),
  "data.batch_size": number(128, "Examples in a batch, over all devices.", POSITIVE),
  "data.pad": number(
    None,
    "Pixels of padding before the random crop; None: the data set's own.",
    NOT_NEGATIVE,
    optional=int,
  ),
  "data.flip": Setting(
    None, "Whether half of the images are mirrored; None: the data set's own.", optional=bool
  ),
  "data.augmentation": one_of(
    ("standard",), "Crop and flip of normalized images, or an augmentation of your own."
  ),
  "data.normalize": Setting(
    "pixel_mean",
    f"Normalization: {', '.join(COMPUTED)}, imagenet, caffe, or the mean and the deviation of each "
    "channel, such as 0.49,0.48,0.45/0.25,0.24,0.26.",
    roles=("exported", "normalization", "weights"),
  ),
  "data.image_size": number(
    224,
    "Pixels of the crop of a photograph, on each side.",
    POSITIVE,
    roles=("exported", "photographs"),
  ),
  "data.crop": one_of(
    ("scale", "scale_aspect"),
    "Training crop of a photograph: of random scale, or of random scale and aspect.",
    default="scale_aspect",
    roles=("photographs",),
  ),
  "data.color_jitter": number(
    0.0, "Greatest relative change of brightness, contrast and saturation.", NOT_NEGATIVE
  ),
  "data.lighting": number(
    0.0, "Deviation of the PCA noise, as a share of the eigenvalues.", NOT_NEGATIVE
  ),
  "data.workers": number(
    None,
    "Processes that decode photographs; None: one per core.",
    NOT_NEGATIVE,
    optional=int,
    resume="free",
    roles=("host", "photographs"),
  ),
  # The optimizer and its schedule.
  "optim.name": one_of(
    ("sgd",), "Optimizer: SGD with momentum in Caffe's form, or one of your own."
  ),
  "optim.learning_rate": number(0.1, "Learning rate after the warm-up.", POSITIVE, resume="free"),
  "optim.momentum": number(0.9, "Decay of the velocity.", NOT_NEGATIVE, BELOW_ONE),
  "optim.nesterov": Setting(
    False,
    "Whether the momentum is Nesterov's.",
    belongs=Belongs("optim.momentum", never=(0,), text="an optim.momentum above 0"),
  ),
  "optim.clip": number(
    0.0, "Norm to which a longer gradient of all parameters is cut; 0: none.", NOT_NEGATIVE
  ),
  "optim.weight_decay": number(
    1e-4, "Weight decay, of every parameter as in the papers.", NOT_NEGATIVE
  ),
  "optim.schedule": one_of(
    ("step", "cosine", "constant"), "Learning rate over the run.", resume="free"
  ),
  "optim.drop_at": Setting(
    "50%, 75%",
    "Durations after which the rate drops.",
    belongs=_STEP,
    harmless=tuple(DROPS.values()),
    resume="free",
  ),
  "optim.drop_factor": number(
    0.1, "Factor on the rate at each drop.", NOT_NEGATIVE, belongs=_STEP, resume="free"
  ),
  "optim.warmup": duration("0 steps", "Duration of the warm-up.", resume="free"),
  "optim.warmup_learning_rate": number(
    0.01,
    "Learning rate during the warm-up ([R] 4.2), or that it begins with.",
    NOT_NEGATIVE,
    belongs=_WARMUP,
    resume="free",
  ),
  "optim.warmup_schedule": one_of(
    ("constant", "linear"), "Learning rate over the warm-up.", belongs=_WARMUP
  ),
  # Length of the run, and intervals.
  "train.steps": duration("64000 steps", "Length of the run.", resume="free"),
  "train.log_every": duration("100 steps", "Interval of the rows of training metrics."),
  "train.eval_every": duration("1000 steps", "Interval of the evaluations.", resume="free"),
  "train.checkpoint_every": duration("1000 steps", "Interval of the checkpoints.", resume="sweep"),
  # Beginning with trained weights.
  "finetune.weights": Setting(
    "", "Run's folder or weights file to begin with; empty: from scratch."
  ),
  "finetune.frozen": Setting("", "Parts that do not train, such as stem,stage1."),
}

# The modules that read the settings whose keys begin so; the longest that fits counts.
# fmt: off
READERS = {
  "seed": "training.setup", "task.": "tasks", "task.loss": "tasks.classification",
  "model.": "models.resnet", "model.plain.": "models.plain",
  "model.unit": "models.units", "model.gate_bias": "models.units",
  "model.residual": "models.units", "model.residual_scale": "models.shortcuts",
  "model.projection": "models.units", "model.stride_on": "models.units",
  "model.shortcut": "models.shortcuts", "model.dropout_rate": "models.shortcuts",
  "model.after_add": "models.orders", "model.init": "models.initializers",
  "model.dtype": "models.layers", "model.kernels": "models.layers", "model.norm.": "models.layers",
  "data.": "data", "data.train_split": "data.arrays", "data.test_split": "data.arrays",
  "data.batch_size": "training.setup", "data.pad": "data.augment",
  "data.flip": "data.augment", "data.augmentation": "data.augment",
  "data.normalize": "data.augment", "data.color_jitter": "data.augment",
  "data.lighting": "data.augment", "data.image_size": "data.photos.pipeline",
  "data.crop": "data.photos.pipeline", "data.workers": "data.photos.pipeline",
  "optim.": "training.optim", "train.": "training.setup",
  "finetune.": "training.finetune", "finetune.frozen": "training.setup",
}
# fmt: on


def reader(key: str) -> str:
  """The module that reads a setting of the table, such as "models.units"."""
  return READERS[max((start for start in READERS if key.startswith(start)), key=len)]


def idle(setting: Setting, values: Mapping[str, Any]) -> bool:
  """Whether the values of other settings leave this one unread."""
  belongs = setting.belongs
  if belongs is None:
    return False
  chooser = SETTINGS[belongs.to]
  return belongs.idle(chooser, values[belongs.to]) or idle(chooser, values)


def having(role: str) -> tuple[str, ...]:
  """The settings with a role, in the order of the table."""
  assert role in ROLES, role
  return tuple(key for key, setting in SETTINGS.items() if role in setting.roles)
