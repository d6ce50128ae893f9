"""The processes of a run: what they agree on, and how they notice that one of them is lost.

The first process alone reads and writes the workdir; the others compute. All take the same turns
at the same step, since what only one of them can know (a signal, a clock, a folder) is agreed on.
"""

import contextlib
import ctypes
import faulthandler
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from resnet_jax.distributed import mesh
from resnet_jax.errors import EXIT_PREEMPTED, Diverged, UserError

ROUND_SECONDS = 10.0  # between two roll calls
ANSWER_SECONDS = 30.0  # in which all must answer one
BUSY_SECONDS = 60.0  # in which whatever a process does by itself must end
GRACE_SECONDS = 5.0  # for the answer of the service itself
LAST_SECONDS = 3.0  # that the first process stays so that the others hear why
FOREVER = 2**31 - 1  # milliseconds
HOST = "resnet_jax/host"  # the service's keys under which processes tell their hosts' names ...
OTHER = "resnet_jax/other"  # ... what they have otherwise than the first
FAILED = "resnet_jax/failed"  # ... and their errors

Item = TypeVar("Item")


def first() -> bool:
  """Whether this is the process that reads and writes the workdir."""
  return jax.process_index() == 0


def gather(array: np.ndarray) -> np.ndarray:
  """The arrays of all processes, [P, ...], bit for bit."""
  array = np.ascontiguousarray(array)
  if jax.process_count() == 1:
    return array[None]
  # As bytes: JAX would make float32 of float64.
  every = multihost_utils.process_allgather(np.frombuffer(array.tobytes(), np.uint8))
  return np.asarray(every).view(array.dtype).reshape(-1, *array.shape)


_turns = itertools.count()  # of `lead` and `exchange`, the same in all processes ...
_lookouts = itertools.count()  # ... as these are


def lead(call: Callable[[], Any]) -> Any:
  """What `call` returns, JSON-able, in the first process, for all of them.

  The others wait for it however long it takes, which a collective operation would not let them.

  Raises:
    UserError: it raised one, or the system refused it a file.
  """
  if jax.process_count() == 1:
    return call()
  key, outcome = f"resnet_jax/lead/{next(_turns)}", {}
  if first():
    try:
      outcome = {"value": call()}
    except (UserError, OSError) as error:
      outcome = {"error": str(error)}
    _runtime().client.key_value_set(key, json.dumps(outcome))
  else:
    outcome = json.loads(_runtime().client.blocking_key_value_get(key, FOREVER))
  if "error" in outcome:
    raise UserError(outcome["error"])
  return outcome["value"]


def _runtime() -> Any:
  """What JAX knows of the processes, and its service's client, of which it has no public names."""
  from jax._src import distributed

  return distributed.global_state


def from_first(tree: Any, like: Any, sharding: NamedSharding) -> Any:
  """The first process's arrays on the devices of all; `like` tells the others what will come."""
  if jax.process_count() == 1:
    return tree
  leaves, structure = jax.tree.flatten(like)
  ends = np.cumsum([leaf.size * leaf.dtype.itemsize for leaf in leaves])
  data = bytes(ends[-1])
  if first():
    data = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))
  # All at once, as each size would be a program of its own.
  whole = multihost_utils.broadcast_one_to_all(np.frombuffer(data, np.uint8))
  pieces = zip(np.split(np.asarray(whole), ends[:-1]), leaves, strict=True)
  found = [piece.view(leaf.dtype).reshape(leaf.shape) for piece, leaf in pieces]
  return mesh.place(jax.tree.unflatten(structure, found), sharding)


def in_turn(call: Callable[[], Item]) -> Item:
  """What `call` returns in each process; the first's may prepare what the others find."""
  if first():
    found = call()
  lead(lambda: None)
  return found if first() else call()


def exchange(mine: Any) -> list[Any]:
  """What each process has, JSON-able, in their order; each waits however long the others take."""
  if jax.process_count() == 1:
    return [mine]
  key, client = f"resnet_jax/exchange/{next(_turns)}", _runtime().client
  client.key_value_set(f"{key}/{jax.process_index()}", json.dumps(mine))
  every = (f"{key}/{process}" for process in range(jax.process_count()))
  return [json.loads(client.blocking_key_value_get(each, FOREVER)) for each in every]


def refuse_other(mine: dict[str, Any]) -> None:
  """Raises a UserError in all processes for a key whose value is not the same in all of them."""
  if jax.process_count() == 1:
    return
  process, client = jax.process_index(), _runtime().client
  first_has, mine = lead(lambda: mine), json.loads(json.dumps(mine))
  differ = [key for key in mine if mine[key] != first_has.get(key)]
  for key in differ[:1]:
    text = f"{key} of process {process} is {mine[key]!r}, of process 0 {first_has.get(key)!r}"
    client.key_value_set(f"{OTHER}/{process}", text)
  if gather(np.asarray(bool(differ))).any():
    raise UserError(client.key_value_dir_get(OTHER)[0][1])


class Lookout:
  """While entered, calls the roll of the processes every few seconds, in a thread of its own.

  One that does not answer, stopped, cut off or killed, or that is busy with one thing for too
  long, brings all down within two minutes with its name; they leave with the code that says run me
  again. One that raises an error tells it to the others, which leave with code 1.
  """

  def __init__(self) -> None:
    self._closing = threading.Event()
    self._busy: tuple[str, float] | None = None
    self._answered = 0
    if jax.process_count() > 1:
      self._client, number = _runtime().client, next(_lookouts)
      self._roll = f"resnet_jax/roll/{number}"
      self._client.key_value_set(f"{HOST}/{number}/{jax.process_index()}", socket.gethostname())
      self._hosts = [
        self._client.blocking_key_value_get(f"{HOST}/{number}/{process}", int(1000 * BUSY_SECONDS))
        for process in range(jax.process_count())
      ]

  def __enter__(self) -> "Lookout":
    if jax.process_count() > 1:
      threading.Thread(target=self._watch, name="lookout", daemon=True).start()
      self._replace_abort()
    return self

  def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
    if jax.process_count() > 1 and isinstance(error, Exception):
      self._fail(error)
    self._closing.set()

  @contextlib.contextmanager
  def busy(self, what: str) -> Iterator[None]:
    """Around what this process does by itself and could hang in, such as reading a file."""
    self._busy = (what, time.monotonic())
    try:
      yield
    finally:
      self._busy = None

  def each(self, items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items, of which each is busy work to come by."""
    iterator = iter(items)
    while True:
      with self.busy(what):
        try:
          item = next(iterator)
        except StopIteration:
          return
      yield item

  def _watch(self) -> None:
    for number in itertools.count():
      if self._closing.wait(ROUND_SECONDS):
        return
      if (busy := self._busy) and time.monotonic() - busy[1] > BUSY_SECONDS:
        faulthandler.dump_traceback()
        self._leave(f"{self._name()} has been {busy[0]} for over {BUSY_SECONDS:.0f} s; it hangs")
      late = f"{self._name(0)}, which coordinates, does not answer"
      silence = threading.Timer(ANSWER_SECONDS + GRACE_SECONDS, self._leave, (late,))
      silence.start()
      try:
        if told := self._client.key_value_dir_get(FAILED):
          self._leave(told[0][1], code=1)
        self._client.wait_at_barrier(f"{self._roll}/{number}", int(1000 * ANSWER_SECONDS))
        self._answered = number
      except Exception as error:  # of whatever class JAX makes it
        self._leave(self._absent(str(error)))
      finally:
        silence.cancel()

  def _replace_abort(self) -> None:
    """JAX aborts a process whose coordinator is lost, in one of its threads: says so instead."""
    set_handler, default = ctypes.CDLL(None).signal, signal.SIG_DFL
    host, _, port = str(_runtime().coordinator_address).rpartition(":")

    def aborted(number: int) -> None:
      set_handler(number, default)  # for an abort of another cause, which goes on
      try:
        socket.create_connection((host, int(port)), timeout=5).close()
      except OSError:
        self._leave(f"{self._name(0)}, which coordinates, is lost")

    self._aborted = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)  # kept for as long as it may come
    set_handler(signal.SIGABRT, self._aborted)

  def _name(self, process: int | None = None) -> str:
    number = jax.process_index() if process is None else process
    return f"process {number} of {jax.process_count()} (host {self._hosts[number]})"

  def _absent(self, error: str) -> str:
    """Who did not come, as the service's error has it."""
    listed = error.partition("timed out task names:")[2].partition("RPC:")[0]
    names = [self._name(int(number)) for number in re.findall(r"(\d+)\s*$", listed, re.MULTILINE)]
    return f"{' and '.join(names)} does not answer" if names else error.splitlines()[0]

  def _leave(self, text: str, code: int = EXIT_PREEMPTED) -> None:
    """Ends this process, whatever its main thread waits for."""
    if self._closing.is_set():
      return
    again = "; run it again" if code == EXIT_PREEMPTED else ""
    print(f"error: {text}; {self._name()} leaves{again}", file=sys.stderr, flush=True)
    if first():
      time.sleep(LAST_SECONDS)  # the others lose the service with this process
    os._exit(code)

  def _fail(self, error: Exception) -> None:
    """Tells the others of an error, and returns once all have one; else this process ends here."""
    ours = isinstance(error, UserError | Diverged | OSError)
    if not ours:
      # If a process is lost, the roll call tells whose loss this error comes of, which may be of
      # any class.
      answered = self._answered
      while self._answered < answered + 2:
        time.sleep(0.1)
    text = f"{self._name()}: {' '.join(str(error).split())[:400]}"
    self._client.key_value_set(f"{FAILED}/{jax.process_index()}", text)
    for _ in range(int(10 * (ROUND_SECONDS + LAST_SECONDS))):
      if len(self._client.key_value_dir_get(FAILED)) == jax.process_count():
        return
      time.sleep(0.1)
    if not ours:
      traceback.print_exception(error)
    self._leave(text, code=1)
