"""Residual nets written from the papers' formulas: no Flax, no scan, no tables, all branches.

Parameters are read by name from the tree of the network under test, whose stacked units are
indexed; everything computed with them is written out here.
"""

import jax
import jax.numpy as jnp
from jax import lax


def conv(x, w, stride=1):
  pad = w.shape[0] // 2
  return lax.conv_general_dilated(
    x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def max_pool(x, padding):
  """The largest of each 3x3 window, every other window."""
  x = jnp.pad(x, ((0, 0), padding, padding, (0, 0)), constant_values=-jnp.inf)
  rows, columns = ((size - 3) // 2 + 1 for size in x.shape[1:3])
  shifted = [
    x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for i in range(3) for j in range(3)
  ]
  return jnp.stack(shifted).max(0)


class Net:
  """One forward pass; in training mode `new` collects the running statistics that come of it."""

  def __init__(self, config, params, stats, key, train=True):
    self.c, self.params, self.stats, self.key, self.new = config, params, stats, key, {}
    self.train = train

  def batch_norm(self, x, path):
    p, s = self.get(self.params, path), self.get(self.stats, path)
    if not self.train:
      unit = (x - s["mean"]) / jnp.sqrt(s["var"] + self.c.norm.epsilon)
      return unit * p["scale"] + p["bias"]
    size = self.c.norm.group_size or len(x)
    outputs, means, variances = [], [], []
    for start in range(0, len(x), size):
      group = x[start : start + size]
      mean = jnp.mean(group, (0, 1, 2))
      var = jnp.mean(group**2, (0, 1, 2)) - mean**2
      outputs.append((group - mean) / jnp.sqrt(var + self.c.norm.epsilon) * p["scale"] + p["bias"])
      means.append(mean)
      variances.append(var)
    d = self.c.norm.decay
    self.new[path] = {
      "mean": d * s["mean"] + (1 - d) * sum(means) / len(means),
      "var": d * s["var"] + (1 - d) * sum(variances) / len(variances),
    }
    return jnp.concatenate(outputs)

  def get(self, tree, path):
    """The leaves at `path`; a number in it indexes the units stacked there."""
    for name in path:
      tree = tree[name] if isinstance(name, str) else jax.tree.map(lambda a, i=name: a[i], tree)
    return tree

  def kernel(self, path):
    return self.get(self.params, path)["kernel"]

  def unit(self, x, path, width, stride, where, number):
    c = self.c
    sizes = {"basic": 2, "single": 1, "bottleneck": 3}[c.unit]
    out = 4 * width if c.unit == "bottleneck" else width
    strided = 1 if c.stride_on == "3x3" and c.unit == "bottleneck" else 0

    def w(i, v):
      return conv(v, self.kernel((*path, f"conv{i + 1}")), stride if i == strided else 1)

    def bn(i, v):
      return self.batch_norm(v, (*path, f"bn{i}"))

    relu = jax.nn.relu
    if c.after_add in ("full_preact", "relu_only_preact"):
      full = c.after_add == "full_preact"
      if where != "first unit":
        a = relu(bn(1, x)) if full else relu(x)
        if where == "shape changes":
          x = a
      else:
        a = x
      f = a
      for i in range(sizes):
        if i:
          f = relu(bn(i + 1 if full else i, f))
        f = w(i, f)
      if not full:
        f = bn(sizes, f)
    else:
      f = x
      for i in range(sizes):
        if i:
          f = relu(bn(i, f))
        f = w(i, f)
      if c.after_add != "bn_after_add":
        f = bn(sizes, f)
      if c.after_add == "relu_before_add":
        f = relu(f)

    def project(v, always=False):
      if not always and c.projection != "C":
        if stride == 1 and v.shape[-1] == out:
          return v
        if c.projection == "A":
          zeros = jnp.zeros((*v[:, ::stride, ::stride].shape[:3], out - v.shape[-1]), v.dtype)
          return jnp.concatenate([v[:, ::stride, ::stride], zeros], -1)
      v = conv(v, self.kernel((*path, "projection")), stride)
      if c.after_add in ("full_preact", "relu_only_preact"):
        return v
      return self.batch_norm(v, (*path, "projection_bn"))

    def g(v):
      z = conv(v, self.kernel((*path, "gate")), stride)
      return 1 / (1 + jnp.exp(-(z + self.get(self.params, (*path, "gate"))["bias"])))

    if c.shortcut == "identity":
      y = project(x) + f
    elif c.shortcut == "scaling":
      y = c.shortcut_scale * project(x) + c.residual_scale * f
    elif c.shortcut == "exclusive_gating":
      y = (1 - g(x)) * project(x) + g(x) * f
    elif c.shortcut == "shortcut_gating":
      y = (1 - g(x)) * project(x) + f
    elif c.shortcut == "conv":
      y = project(x, always=True) + f
    elif c.shortcut == "dropout":
      h, p = project(x), 1 - c.dropout_rate
      if self.train:
        kept = jax.random.bernoulli(jax.random.fold_in(self.key, number), p, h.shape)
        y = jnp.where(kept, h, 0) + f
      else:
        y = p * h + f
    elif c.shortcut == "none":
      y = f
    if c.after_add == "original":
      return relu(y)
    if c.after_add == "bn_after_add":
      return relu(bn(sizes, y))
    return y

  def logits(self, x, units):
    c = self.c
    imagenet = c.family == "imagenet"
    x = conv(x, self.kernel(("stem", "conv")), 2 if imagenet else 1)
    x = jax.nn.relu(self.batch_norm(x, ("stem", "bn")))
    if imagenet:
      x = max_pool(x, (1, 1) if c.pool_padding == "both" else (0, 1))
    number = 0
    widths = (64, 128, 256, 512) if imagenet else (16, 32, 64)
    for stage, (width, count) in enumerate(zip(widths, units, strict=False)):  # or the first stages
      for unit in range(count):
        first = unit == 0
        path = (f"stage{stage + 1}", *(("first",) if first else ("rest", unit - 1)))
        where = "first unit" if number == 0 else "shape changes" if first else "inside"
        x = self.unit(x, path, width, 2 if first and stage else 1, where, number)
        number += 1
    if c.after_add == "full_preact":
      x = jax.nn.relu(self.batch_norm(x, ("last_bn",)))
    if c.after_add == "relu_only_preact":
      x = jax.nn.relu(x)
    x = jnp.mean(x, (1, 2))
    return x @ self.params["classifier"]["kernel"] + self.params["classifier"]["bias"]
