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
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from resnet_jax.errors import UserError

KEPT = 3
# Paths that Orbax and TensorStore, which build patterns and URLs on them, take literally.
PLAIN = re.compile(r"(?!/(gs|s3|az|hf)/)(/[\w.,+=@-]+)*")
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
    """`warn` is told what goes wrong; `check` raises an OSError if nothing may be saved.

    Raises:
      UserError: nothing can be saved under that path.
    """
    self._check = check
    self.directory = workdir.absolute() / "checkpoints"
    _refuse_name(self.directory)
    self.warn = warn
    self.best_step: int | None = None
    self.last_good: int | None = None
    self.failure: str | None = None
    self.refused = ""  # why the step that was asked for was not restored
    self._saving: tuple[int, list, str] | None = None  # a step, its arrays' shapes, its digest
    self._manager: ocp.CheckpointManager | None = None
    self._opened = contextlib.ExitStack()  # the manager, and the name it has of its directory
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax tells what is told here

  def steps(self) -> list[int]:
    """The steps that have a folder, whole or not, newest first."""
    if not self.directory.is_dir():
      return []
    return sorted((int(p.name) for p in self.directory.iterdir() if p.name.isdigit()), reverse=True)

  def restore(
    self,
    template: Any,
    step: int | None = None,
    foreign: Callable[[dict[str, Any]], str | None] = lambda position: None,
  ) -> tuple[Any, dict] | None:
    """The newest checkpoint that is whole, or that of `step`; None if there is none.

    Args:
      template: a tree of `jax.ShapeDtypeStruct` with shardings.
      step: the one to restore, or None for the newest.
      foreign: given a position, says why another run saved it, or None if this one did. Such a
        checkpoint is passed over like a damaged one.

    Raises:
      UserError: `foreign` raised it.
    """
    for candidate in self.steps():
      if step not in (None, candidate):
        continue
      with _quietly():
        try:
          restored = self._read(candidate, template, foreign)
          self.last_good = candidate
          return restored
        except UserError:
          raise
        except _Foreign as other:
          what, why = f"is of another run ({other})", ""
        except Exception as error:  # of a damaged file Orbax raises whatever comes of it
          what, why = "is damaged", f": {_reason(error)}"
        gc.collect()  # what is left of the attempt complains when it goes
      if step is None:
        self.warn(f"checkpoint {candidate} {what} and passed over{why}")
      else:
        self.refused = f"checkpoint {candidate} {what}{why}"
    return None

  def _read(self, step: int, template: Any, foreign: Callable) -> tuple[Any, dict]:
    with _plainly_named(self.directory) as place, _manager(place, read_only=True) as manager:
      position = _position(manager, step)
      saved_digest = position.pop("digest", None)
      try:
        state = manager.restore(
          step, args=ocp.args.Composite(state=ocp.args.StandardRestore(template))
        )["state"]
      except Exception:
        if why := foreign(position):  # another run's state has other shapes
          raise _Foreign(why) from None
        raise
    if saved_digest != digest(state, position):
      raise ValueError("its digest does not fit what it holds")
    if why := foreign(position):
      raise _Foreign(why)
    return state, position

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
      self._saving = step, _shapes(state), position["digest"]
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
    (step, shapes, digest), self._saving = self._saving, None
    try:
      self.manager.wait_until_finished()
      self.manager.check_for_errors()
      self._check()  # it may have been saved to what is in the folder's place
      with _quietly():
        self._verify(step, shapes, digest)
      self.last_good, self.failure = step, None
    except FAULTS as error:
      self._failed(step, error)

  def _verify(self, step: int, shapes: list, digest: str) -> None:
    """Raises a fault if the disk lacks what a restore needs: the position, and every array with
    its shape and type. The values are not read again.
    """
    if not (self.directory / str(step)).is_dir():
      raise OSError(f"checkpoint {step} was not committed")
    with _plainly_named(self.directory) as place, _manager(place, read_only=True) as manager:
      if _position(manager, step).get("digest") != digest:
        raise OSError(f"the position of checkpoint {step} is not what was saved")
      arrays = ocp.StandardCheckpointHandler().metadata(manager.directory / str(step) / "state")
    if _shapes(arrays.tree) != shapes:
      raise OSError(f"checkpoint {step} lacks arrays of the state")

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
      # A kill may have left temporary directories.
      options = dict(preservation_policy=self, create=False, cleanup_tmp_directories=True)
      place = self._opened.enter_context(_plainly_named(self.directory))
      self._manager = _manager(place, **options)
      self._opened.callback(self._manager.close)
    return self._manager

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Orbax's question: which of these to keep."""
    del context
    last = sorted(c.step for c in checkpoints)[-KEPT:]
    return [c.step in last or c.step == self.best_step for c in checkpoints]

  def close(self) -> None:
    """Ends Orbax's threads."""
    self._manager = None
    with contextlib.suppress(*FAULTS):  # after a failed save it may tell of that again
      self._opened.close()


class _Foreign(Exception):
  """A checkpoint is of another run; says why."""


def _refuse_name(directory: pathlib.Path) -> None:
  """Raises a UserError if neither the directory nor a link to it can have a plain name."""
  temporary = tempfile.gettempdir()
  if not PLAIN.fullmatch(str(directory)) and not PLAIN.fullmatch(temporary):
    raise UserError(
      f"{str(directory)!r} has characters that checkpoints cannot be saved under, and so has "
      f"TMPDIR={temporary!r}; name one of them with letters, digits, . _ and - only"
    )


@contextlib.contextmanager
def _plainly_named(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """The directory under a name that Orbax and TensorStore take literally: if its own is not plain,
  that of a link to it in the folder for temporary files.
  """
  if PLAIN.fullmatch(str(directory)):
    yield directory
    return
  with tempfile.TemporaryDirectory(prefix="resnet_jax-") as folder:
    link = pathlib.Path(folder) / "checkpoints"
    link.symlink_to(directory)
    yield link


def _manager(directory: pathlib.Path, **options: Any) -> ocp.CheckpointManager:
  """Orbax's manager of the directory, which waits for no other process of the run."""
  process = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process{process}"
  )
  return ocp.CheckpointManager(
    directory, options=ocp.CheckpointManagerOptions(multiprocessing_options=alone, **options)
  )


def _position(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
  args = ocp.args.Composite(position=ocp.args.JsonRestore())
  position = manager.restore(step, args=args)["position"]
  if not isinstance(position, dict):
    raise ValueError(f"its position is {position!r:.40}")
  return position


def _shapes(tree: Any) -> list[tuple[tuple[int, ...], str]]:
  """Shape and type of every array, sorted: Orbax has other names for some containers."""
  arrays = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
  return sorted((tuple(array.shape), str(array.dtype)) for array in arrays)


def _reason(error: Exception) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
  """Without the tracebacks of TensorStore's threads: the first is raised, and told as one line."""
  asyncio = logging.getLogger("asyncio")
  before = asyncio.disabled, sys.unraisablehook
  asyncio.disabled, sys.unraisablehook = True, lambda _: None
  try:
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # never awaited
      yield
  finally:
    asyncio.disabled, sys.unraisablehook = before


def digest(state: Any, position: dict[str, Any]) -> str:
  """SHA-256 over every leaf's path, type, shape and bytes, and over the position."""
  total = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    array = np.asarray(leaf)
    total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
    total.update(np.ascontiguousarray(array).view(np.uint8).data)
  total.update(json.dumps(position, sort_keys=True).encode())
  return total.hexdigest()
