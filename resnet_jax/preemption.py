"""SIGTERM and SIGINT as a request to save and leave, polled between dispatches."""

import signal
import threading


class StopRequest:
  """While entered, notes the first SIGTERM or SIGINT; a second one ends the process at once."""

  def __init__(self) -> None:
    self.received: str | None = None
    self._before: dict[int, object] = {}

  def __enter__(self) -> "StopRequest":
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGTERM, signal.SIGINT):
        self._before[number] = signal.signal(number, self._note)
    return self

  def _note(self, number: int, frame: object) -> None:
    del frame
    self.received = signal.Signals(number).name
    signal.signal(number, signal.SIG_DFL)

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
