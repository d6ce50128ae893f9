"""The one exception for a photograph that cannot be used."""


class Unreadable(Exception):
  """A file or a record that gives no pixels; says why, and the label where it is known."""

  def __init__(self, reason: str, label: int = -1):
    super().__init__(reason, label)
    self.reason, self.label = reason, label

  def __str__(self) -> str:
    return self.reason


def reason(error: Exception) -> str:
  """The first line of what a library says."""
  return str(error).strip().partition("\n")[0][:200] or type(error).__name__
