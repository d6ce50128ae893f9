"""A regression of one number an image: the mean brightness of a digit."""

import numpy as np

import resnet_jax
from configs import resnet
from resnet_jax.models import Classifier


@resnet_jax.dataset("brightness")
def brightness(_):
  """The digits, each with its mean grey value in [0, 1]."""
  digits = resnet_jax.load_data(resnet.get_config("depth=8,digits").data)
  parts = {"train": digits.train.images, "test": digits.test.images}
  return {
    name: (images, images.mean((1, 2, 3), dtype=np.float32) / 255) for name, images in parts.items()
  }, ()


@resnet_jax.task("regression")
class Regression(resnet_jax.Task):
  """Targets are numbers float32 [B]."""

  metrics = (resnet_jax.Metric("square_error", digits=5),)

  def head(self):
    return Classifier(1, self.config.model.init, name="number")

  def augment(self, key, batch):
    return self.normalize(batch)

  def loss(self, outputs, batch):
    errors = (outputs[:, 0] - batch.targets) ** 2
    return errors.mean(), {"square_error": errors.sum()}

  def entries(self, outputs, batch):
    return {"square_error": (outputs[:, 0] - batch.targets) ** 2}


def get_config(argument="depth=8,digits"):
  config = resnet.get_config(argument)
  config.task.name, config.data.name = "regression", "brightness"
  return config
