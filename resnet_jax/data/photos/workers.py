"""Processes that do one task over and over, for the threads of the run.

Grain's own would import JAX, 2.6 s of a start, and the state of its iterators depends on how many
there are. These import what their task needs; a batch comes back through memory that both sides
share. They ignore SIGINT and SIGTERM, since the run decides when it ends, and end with it, however
it ends: the connection is then closed.
"""

import contextlib
import json
import math
import mmap
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import traceback
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from resnet_jax.errors import UserError

Arrays = dict[str, np.ndarray]
Task = Callable[[Any], Arrays]
Layout = dict[str, tuple[str, tuple[int, ...]]]  # of arrays, one behind the other: type and shape

# Not `-m`: signals are ignored before anything is imported, and __main__ is never imported again.
_START = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
import json, sys
channel, memory, sys.path[:] = json.loads(sys.argv[1])
from resnet_jax.data.photos import workers
workers.serve(channel, memory)
"""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}  # a worker is a core's
_ALIGNED = 64  # bytes


class Pool:
  """`pool(request)` is `task(request)`, done by whichever of `count` processes is free.

  To be called from as many threads as there are processes. With none the caller does the task.
  """

  def __init__(self, task: Task, count: int, held: Callable[[Any], str] = lambda _: ""):
    """Starts the processes and does not wait for them.

    Args:
      task: what they do; it must pickle.
      count: of the processes; 0 for none.
      held: what a request is about, for the message where its process ends.
    """
    self._task, self._count, self._held = task, count, held
    coded = pickle.dumps(task) if count else b""
    workers = [_Worker(coded) for _ in range(count)]
    self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
      self._free.put(worker)
    self.close = weakref.finalize(self, _end, workers)  # at the latest when the program ends

  def __call__(self, request: Any) -> Arrays:
    """The arrays of a task.

    Raises:
      UserError: the task did, or its process ended.
      RuntimeError: the task raised anything else, which is quoted.
    """
    if not self._count:
      return self._task(request)
    worker = self._free.get()
    try:
      return worker.do(request)
    except EOFError:
      raise UserError(_told(worker.process.wait(), self._held(request))) from None
    finally:
      self._free.put(worker)


def _told(code: int, held: str) -> str:
  """What the user is told of a process that ended while it had what `held` names; `code` is its
  exit code, or minus the signal that ended it.
  """
  what = f" while it read {held}" if held else ""
  if code >= 0:
    return f"a process that reads photographs ended with code {code}{what}"
  # A real-time signal has no name.
  name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
  words = signal.strsignal(-code)
  text = f"a process that reads photographs was ended by {name} ({words}){what}"
  if -code == signal.SIGKILL:
    text += "; if memory ran out, a smaller config.data.workers needs less"
  return text


class _Worker:
  """The run's side of one process."""

  def __init__(self, task: bytes):
    self._coded: bytes | None = task
    self._channel, channel = multiprocessing.Pipe()
    shared = _nameless()
    self._memory = _Memory(shared)
    passed = (channel.fileno(), shared)
    with channel:
      self.process = subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps([*passed, sys.path])],
        stdin=subprocess.DEVNULL,
        pass_fds=passed,
        process_group=0,  # Ctrl-C is for the run
        env=os.environ | _ONE_THREAD,
      )

  def do(self, request: Any) -> Arrays:
    """The arrays of the task; raises an EOFError where the process is gone."""
    try:
      if self._coded is not None:
        self._channel.send_bytes(self._coded)
        self._coded = None
      self._channel.send(request)
      answer = self._channel.recv()
    except (EOFError, OSError):
      raise EOFError from None
    if isinstance(answer, Exception):
      raise answer
    return self._memory.load(answer)


def serve(channel: int, memory: int) -> None:
  """A worker's side: a task, then request after request until the run has gone."""
  connection, shared = Connection(channel), _Memory(memory)
  with contextlib.suppress(EOFError, ConnectionError):
    task = pickle.loads(connection.recv_bytes())
    while True:
      connection.send(_answer(task, connection.recv(), shared))


def _answer(task: Task, request: Any, memory: "_Memory") -> Any:
  try:
    return memory.store(task(request))
  except UserError as error:
    return error
  except Exception:
    return RuntimeError(f"while reading photographs:\n{traceback.format_exc()}")


class _Memory:
  """A nameless file that two processes map; it grows to the largest batch."""

  def __init__(self, file: int):
    self._file = file
    self._map = memoryview(b"")
    weakref.finalize(self, os.close, file)

  def store(self, arrays: Arrays) -> Layout:
    """Writes arrays one behind the other; what `load` has to know of them."""
    layout = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    for name, view in self._views(layout).items():
      view[...] = arrays[name]
    return layout

  def load(self, layout: Layout) -> Arrays:
    """Copies of what `store` wrote in the other process."""
    return {name: view.copy() for name, view in self._views(layout).items()}

  def _views(self, layout: Layout) -> Arrays:
    sizes = [math.prod(shape) * np.dtype(kind).itemsize for kind, shape in layout.values()]
    ends = np.cumsum([-(-size // _ALIGNED) * _ALIGNED for size in sizes]).tolist()
    if ends[-1] > len(self._map):
      if os.fstat(self._file).st_size < ends[-1]:
        os.ftruncate(self._file, ends[-1])
      self._map = memoryview(mmap.mmap(self._file, ends[-1]))
    return {
      name: np.ndarray(shape, kind, self._map, begin)
      for (name, (kind, shape)), begin in zip(layout.items(), [0, *ends[:-1]], strict=True)
    }


def _nameless() -> int:
  if hasattr(os, "memfd_create"):
    return os.memfd_create("photographs")
  with tempfile.TemporaryFile() as file:
    return os.dup(file.fileno())


def _end(workers: list[_Worker]) -> None:
  # A thread may wait for an answer: it gets an error, and what it reads from is left to it.
  for worker in workers:
    worker.process.kill()
    worker.process.wait()
