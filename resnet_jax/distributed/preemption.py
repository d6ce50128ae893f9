"""SIGTERM, SIGINT and SIGUSR2 as a request to save and leave, polled between dispatches."""

import signal
import threading

from resnet_jax.errors import Preempted

# What `leave_at_once` was told. Its exception is lost where a signal comes within a destructor or a
# callback of a library, or while an extension is loaded, which makes an ImportError of it: whoever
# polls afterwards must know all the same.
_told: list[str] = []
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # the last from SLURM, ahead of the end


def leave_at_once() -> None:
  """Lets any of them raise Preempted wherever the program is: for as long as nothing is lost."""

  def leave(number: int, _: object) -> None:
    _heed_no_more()
    _told.append(signal.Signals(number).name)
    raise Preempted(f"stopped by {_told[-1]}; run it again")

  _told.clear()
  for number in SIGNALS:
    signal.signal(number, leave)


def told() -> str | None:
  """The signal that `leave_at_once` has heard, if any."""
  return _told[-1] if _told else None


def _heed_no_more() -> None:
  """SLURM repeats its signals within the same instant, which must not end a process that saves;
  a second Ctrl-C does.
  """
  for number in SIGNALS:  # SIG_IGN would have Python complain of a signal that is under way
    signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else lambda *_: None)


class StopRequest:
  """While entered, notes the first of the signals; a SIGINT after it ends the process at once."""

  def __init__(self) -> None:
    self.received: str | None = None
    self._before: dict[int, object] = {}

  def __enter__(self) -> "StopRequest":
    self.received = told()
    if threading.current_thread() is threading.main_thread():
      for number in SIGNALS:
        self._before[number] = signal.signal(number, self._note)
    return self

  def _note(self, number: int, _: object) -> None:
    self.received = signal.Signals(number).name
    _heed_no_more()

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
