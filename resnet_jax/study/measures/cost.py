"""What a network costs, against its error: published, or that of its run."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from resnet_jax import api, data, describe, paper
from resnet_jax import config as config_lib
from resnet_jax.data import augment
from resnet_jax.data.batch import Batch, Normalization
from resnet_jax.errors import UserError
from resnet_jax.runs import headline, workdir
from resnet_jax.study.net import Net
from resnet_jax.study.words import require_classification, requires, study
from resnet_jax.training import compilation
from resnet_jax.training import setup as setup_lib
from resnet_jax.training import steps as steps_lib


@study("cost")
@requires(require_classification)
def cost(net: Net, steps: int = 30) -> Iterator[dict[str, Any]]:
  """One row. No data are read: images and labels are random ones of the data set's shape.

  - `error`: of the test set, in percent: that of the run, or the first that is published
  - `params`, `multiply_adds`: of all layers; the latter for one image
  - `memory`: MB at the peak of a training step over the batch, as the compiler plans it
  - `step_time`: seconds that such a step takes, the fastest of `steps` after the first: what makes
    one slower is other work on the machine
  """
  counted = describe.describe(net.config)
  columns = {"error": error(net)} | {name: counted[name] for name in ("params", "multiply_adds")}
  yield columns | step_costs(net.config, net.examples, steps)


def error(net: Net) -> float:
  """The test error in percent of the net's run, or else the first that is published of it.

  Raises:
    UserError: the run has not ended, or there is neither a run nor a publication.
  """
  name = net.config.data.name
  if net.folder is not None:
    result = workdir.result(net.folder)
    if result.get("status") != "done":
      raise UserError(f"--run={net.folder} has no result yet; finish the run first")
    return headline.tested(result)
  for published in paper.find(net.config.model, name):
    if published.data == name and not published.fail:
      return published.error
  raise UserError(
    f"no error is published of the net {config_lib.in_words(net.config)}; train it, and give its "
    "folder with --run"
  )


def step_costs(config: Any, examples: int, steps: int) -> dict[str, float]:
  """`memory` and `step_time` of training steps over so many examples."""
  setup_lib.use_type(config)
  info = data.info(config.data)
  learner = api.learner(config, info)
  batch = made_up(learner, info, examples)

  def step(state: steps_lib.TrainState, batch: Batch) -> steps_lib.TrainState:
    return steps_lib.train_step(learner, state, batch)[0]

  state = jax.jit(steps_lib.init, static_argnums=(0, 1))(learner, info.shape)
  compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
  seconds = []
  for _ in range(steps + 1):
    begin = time.perf_counter()
    state = jax.block_until_ready(compiled(state, batch))
    seconds.append(time.perf_counter() - begin)
  return {
    "memory": compilation.planned_bytes(compiled) / 1e6,
    "step_time": min(seconds[1:]),
  }


def made_up(learner: steps_lib.Learner, info: data.Info, examples: int) -> Batch:
  """Random images and labels in the shape of a data set."""
  random = np.random.default_rng(learner.seed)
  images = random.integers(0, 256, (examples, *info.shape), np.uint8)
  labels = random.integers(0, len(info.classes), examples, np.int32)
  normalize = learner.task.config.data.normalize
  constants = augment.normalization(images, normalize, learner.task.dtype)
  images, labels, constants = jax.device_put((images, labels, constants))
  return Batch(images, labels, Normalization(*constants))
