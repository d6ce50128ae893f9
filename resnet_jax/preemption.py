"""SIGTERM and SIGINT as a request to save and leave, polled between dispatches."""

import signal
import threading

from resnet_jax.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def leave_at_once() -> None:
  """Lets either signal raise Preempted wherever the program is: for as long as nothing is lost."""

  def leave(number: int, _: object) -> None:
    raise Preempted(f"stopped by {signal.Signals(number).name}; run it again")

  for number in SIGNALS:
    signal.signal(number, leave)


class StopRequest:
  """While entered, notes the first SIGTERM or SIGINT; a second one ends the process at once."""

  def __init__(self) -> None:
    self.received: str | None = None
    self._before: dict[int, object] = {}

  def __enter__(self) -> "StopRequest":
    if threading.current_thread() is threading.main_thread():
      for number in SIGNALS:
        self._before[number] = signal.signal(number, self._note)
    return self

  def _note(self, number: int, frame: object) -> None:
    del frame
    self.received = signal.Signals(number).name
    for either in SIGNALS:
      signal.signal(either, signal.SIG_DFL)

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
