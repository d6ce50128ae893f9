"""Very deep residual networks, f(h(x) + F(x)), and the experiments on h and f.

    import resnet_jax
    config = resnet_jax.load_config("configs/resnet.py:depth=20,digits")
    model = resnet_jax.build_model(config.model, classes=10)
    result = resnet_jax.train_run(config, "runs/notebook")
    run = resnet_jax.load_run("runs/notebook")

Names are imported when first used: reading a config needs no JAX.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
  "Diverged": ("errors", "Diverged"),
  "Metric": ("runs.headline", "Metric"),
  "Preempted": ("errors", "Preempted"),
  "Summed": ("tasks.collect", "Summed"),
  "Task": ("tasks", "Task"),
  "UserError": ("errors", "UserError"),
  "after_add": ("models", "after_add"),
  "augmentation": ("data.augment", "AUGMENTATIONS"),
  "build_model": ("models", "build"),
  "by_unit": ("models", "by_unit"),
  "dataset": ("data.arrays", "DATASETS"),
  "default_config": ("config", "default_config"),
  "layer": ("models", "layer"),
  "load_config": ("config", "load_file"),
  "load_data": ("data", "load"),
  "load_run": ("api", "load_run"),
  "loss": ("tasks", "LOSSES"),
  "model": ("models", "MODELS"),
  "norm": ("models", "norm"),
  "optimizer": ("training.optim", "OPTIMIZERS"),
  "residual": ("models", "residual"),
  "schedule": ("training.optim", "SCHEDULES"),
  "shortcut": ("models", "shortcut"),
  "task": ("tasks", "TASKS"),
  "train_run": ("training.train", "train"),
  "unit": ("models", "unit"),
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f"module 'resnet_jax' has no attribute {name!r}")
  module, attribute = _PUBLIC[name]
  return getattr(importlib.import_module(f"resnet_jax.{module}"), attribute)


def __dir__():
  return sorted(__all__)
