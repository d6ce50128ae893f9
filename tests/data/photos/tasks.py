"""What the tests let workers do: importable by name in their processes."""

import os
import resource
import sys
import time

import numpy as np

from resnet_jax.errors import UserError


def double(request):
  values = np.asarray(request)
  return {"doubled": 2 * values, "process": np.array([os.getpid()])}


def modules(_):
  known = [name in sys.modules for name in ("jax", "tensorflow", "torch", "grain")]
  return {"known": np.array(known)}


def growing(size):
  return {
    "a": np.full((size, 3), size % 256, np.uint8),
    "b": np.arange(size),
    "c": np.zeros((0, 4)),
  }


def failing(request):
  if request == "user":
    raise UserError("config.data.dir is wrong")
  raise KeyError("surprise")


def ending(code):
  """Ends its process: by a signal, or with minus the code."""
  if code < 0:
    os._exit(-code)
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  os.kill(os.getpid(), code)


def ending_transform(_):
  ending(11)


def slow(_):
  time.sleep(0.2)
  return double([0])
