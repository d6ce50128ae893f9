"""Checkpoints by Orbax: the last three and the best, each with a digest of what it holds.

A step is trusted only if it restores with the shapes, types and digest it was saved with;
one that does not is passed over, with the reason, for the one before it.
"""

import contextlib
import gc
import hashlib
import json
import logging
import pathlib
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

KEPT = 3
# What Orbax and TensorStore raise for a file that is missing, damaged or cannot be written.
FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


class Checkpoints:
  """The checkpoints of one run, in `workdir/checkpoints`; nothing is written before `save`.

  A checkpoint is a tree of arrays and a JSON-able `position`.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    warn: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
  ):
    """`warn` is told what goes wrong; `check` raises an OSError where nothing may be saved."""
    self._check = check
    self.directory = workdir.absolute() / "checkpoints"
    self.warn = warn
    self.best_step: int | None = None
    self.last_good: int | None = None
    self.failure: str | None = None
    self._saving: int | None = None
    self._manager: ocp.CheckpointManager | None = None
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax tells what is told here

  def steps(self) -> list[int]:
    """The steps that have a folder, whole or not, newest first."""
    if not self.directory.is_dir():
      return []
    return sorted((int(p.name) for p in self.directory.iterdir() if p.name.isdigit()), reverse=True)

  def restore(self, template: Any, step: int | None = None) -> tuple[Any, dict] | None:
    """The newest checkpoint that is whole, or that of `step`; None where there is none.

    Args:
      template: a tree of `jax.ShapeDtypeStruct` with shardings.
      step: the one to restore, or None for the newest.
    """
    for candidate in self.steps():
      if step not in (None, candidate):
        continue
      with _quietly():
        try:
          restored = self._read(candidate, template)
          self.last_good = candidate
          return restored
        except Exception as error:  # of a damaged file Orbax raises whatever comes of it
          reason = _reason(error)
        gc.collect()  # what is left of the attempt complains when it goes
      self.warn(f"checkpoint {candidate} is damaged and passed over: {reason}")
    return None

  def _read(self, step: int, template: Any) -> tuple[Any, dict]:
    with ocp.CheckpointManager(
      self.directory, options=ocp.CheckpointManagerOptions(read_only=True, **_alone())
    ) as manager:
      restored = manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(template), position=ocp.args.JsonRestore()
        ),
      )
    state, position = restored["state"], restored["position"]
    if position.get("digest") != digest(state, position):
      raise ValueError("its digest does not fit what it holds")
    return state, {key: value for key, value in position.items() if key != "digest"}

  def discard_after(self, step: int) -> None:
    """Sets aside the checkpoints after `step`, which were passed over: Orbax would skip its own
    later saves at or below them.
    """
    for later in self.steps():
      if later > step:
        aside = self.directory.with_name("checkpoints_damaged")
        aside.mkdir(exist_ok=True)
        earlier = len(list(aside.glob(f"{later}.*")))
        (self.directory / str(later)).rename(aside / f"{later}.{earlier}")

  def save(self, step: int, state: Any, position: dict[str, Any]) -> None:
    """Begins to save; `failure` tells afterwards what went wrong with this save or the last."""
    self.settle()
    # Copies on the host: the step may overwrite its own while Orbax writes, and of the devices'
    # arrays Orbax would want every process of the run to write its share.
    state = jax.tree.map(np.array, state)
    position = position | {"digest": digest(state, position)}
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
    )
    try:
      self._refuse_full_disk(state)
      if not self.manager.save(step, args=args, force=True):
        raise RuntimeError(f"Orbax declined to save step {step}")
      self._saving = step
    except FAULTS as error:
      self._failed(step, error)

  def _refuse_full_disk(self, state: Any) -> None:
    """Raises an OSError where there is no room: each of Orbax's threads would fail on its own."""
    self._check()
    self.directory.mkdir(parents=True, exist_ok=True)
    needed = 1.1 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**18  # and its indices
    free = shutil.disk_usage(self.directory).free
    if free < needed:
      raise OSError(f"{needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free")

  def settle(self) -> None:
    """Waits until what was begun is on the disk, or has failed."""
    if self._saving is None:
      return
    step, self._saving = self._saving, None
    try:
      self.manager.wait_until_finished()
      self.manager.check_for_errors()
      self._check()  # it may have been saved to what is in the folder's place
      if not (self.directory / str(step) / "position").is_dir():
        raise OSError(f"checkpoint {step} was not committed")
      self.last_good, self.failure = step, None
    except FAULTS as error:
      self._failed(step, error)

  def settle_if_done(self) -> None:
    """Sees how what was begun has ended, without waiting for it."""
    if self._saving is not None and not self.manager.is_saving_in_progress():
      self.settle()

  def _failed(self, step: int, error: Exception) -> None:
    reason = _reason(error)
    if self.failure is None:
      self.warn(f"checkpoint {step} could not be saved and is tried again: {reason}")
    self.failure = reason
    self.close()  # a manager whose save failed remembers the step
    shutil.rmtree(self.directory / str(step), ignore_errors=True)
    self.clear()

  def clear(self) -> None:
    """Removes what a failed save has left, the folder too where it holds nothing else: in a
    vanished one's place Orbax has made it.
    """
    for leftover in self.directory.glob("*tmp*"):
      shutil.rmtree(leftover, ignore_errors=True)
    with contextlib.suppress(OSError):
      self.directory.rmdir()

  @property
  def manager(self) -> ocp.CheckpointManager:
    """Orbax's, made at the first save."""
    if self._manager is None:
      options = ocp.CheckpointManagerOptions(
        preservation_policy=self,
        create=False,
        cleanup_tmp_directories=True,  # which a kill left
        **_alone(),
      )
      self._manager = ocp.CheckpointManager(self.directory, options=options)
    return self._manager

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Orbax's question: which of these to keep."""
    del context
    last = sorted(c.step for c in checkpoints)[-KEPT:]
    return [c.step in last or c.step == self.best_step for c in checkpoints]

  def close(self) -> None:
    """Ends Orbax's threads."""
    if self._manager is not None:
      manager, self._manager = self._manager, None
      try:
        manager.close()
      except FAULTS as error:
        logging.getLogger(__name__).debug("closing after a failed save: %s", error)


def _alone() -> dict[str, Any]:
  """Options of a manager that waits for no other process of the run."""
  process = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process{process}"
  )
  return {"multiprocessing_options": options}


def _reason(error: Exception) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
  """Without the tracebacks of TensorStore's threads: the first is raised, and told as one line."""
  asyncio, hook = logging.getLogger("asyncio"), sys.unraisablehook
  level = asyncio.level
  asyncio.setLevel(logging.CRITICAL)
  sys.unraisablehook = lambda _: None
  try:
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # never awaited
      yield
  finally:
    asyncio.setLevel(level)
    sys.unraisablehook = hook


def digest(state: Any, position: dict[str, Any]) -> str:
  """SHA-256 over every leaf's path, type, shape and bytes, and over the position."""
  total = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    array = np.asarray(leaf)
    total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
    total.update(np.ascontiguousarray(array).view(np.uint8).data)
  rest = {key: value for key, value in position.items() if key != "digest"}
  total.update(json.dumps(rest, sort_keys=True).encode())
  return total.hexdigest()
