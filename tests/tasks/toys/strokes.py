"""A map of classes: where a digit has ink, of images of 32 x 32, at a stride of 8."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import resnet_jax
from configs import resnet


@resnet_jax.dataset("strokes", examples=96)
def strokes(config):
  """Digits four times as large, with a class for each pixel, and void (2) where ink is thin."""
  digits = resnet_jax.load_data(resnet.get_config("depth=8,digits").data)
  parts = {}
  for name, split in (("train", digits.train), ("test", digits.test)):
    images = split.images[: config.strokes.examples].repeat(4, 1).repeat(4, 2)
    ink = np.where(images[..., 0] > 160, 1, np.where(images[..., 0] > 80, 2, 0)).astype(np.int32)
    parts[name] = images, {"classes": ink, "weight": np.float32(ink != 2)}
  return parts, ("paper", "ink")


class Maps(nn.Module):
  """Logits of two classes for every pixel, from the last map."""

  @nn.compact
  def __call__(self, maps, train=False):
    logits = nn.Dense(2, name="logits")(maps["stage4"].array)
    stride = maps["stage4"].stride
    return logits.repeat(stride, 1).repeat(stride, 2)


@resnet_jax.task("segmentation")
class Segmentation(resnet_jax.Task):
  """Targets are classes int32 [B, H, W] and weights float32 [B, H, W], 0 for void."""

  metrics = (resnet_jax.Metric("mean_iou", "mean IoU", "%", lower_is_better=False, digits=2),)

  def head(self):
    return Maps(name="maps")

  def augment(self, key, batch):
    return self.normalize(batch)

  def loss(self, outputs, batch):
    classes, weight = batch.targets["classes"] % 2, batch.targets["weight"]
    losses = -jnp.take_along_axis(nn.log_softmax(outputs), classes[..., None], -1)[..., 0]
    return (losses * weight).sum() / weight.sum(), {}

  def entries(self, outputs, batch):
    """The confusion of the whole batch, [2, 2]: an evaluation whose result is no example's."""
    counted = batch.targets["weight"] * batch.valid[:, None, None]
    pairs = 2 * (batch.targets["classes"] % 2) + outputs.argmax(-1)
    confusion = (jax.nn.one_hot(pairs, 4) * counted[..., None]).sum((0, 1, 2))
    return {"confusion": confusion.reshape(2, 2)}

  def collector(self, examples):
    return resnet_jax.Summed()

  def score(self, entries, truth):
    confusion = entries["confusion"]
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return {"mean_iou": 100 * float(np.mean(confusion.diagonal() / np.maximum(union, 1)))}


def get_config(argument="family=imagenet,depth=18,output_stride=8"):
  config = resnet.get_config(f"{argument},digits")
  config.task.name, config.data.name = "segmentation", "strokes"
  return config
