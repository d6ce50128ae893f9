"""One file from the network, resumed where it was cut off and checked before it is used."""

import hashlib
import http.client
import pathlib
import urllib.error
import urllib.request

import rich.progress

from resnet_jax.errors import UserError

_BLOCK = 2**18
_SECONDS = 30  # without a byte, before the network counts as absent


class Unreachable(UserError):
  """The network or the server is not there, or went away."""


def fetch(url: str, target: pathlib.Path, size: int, sha256: str) -> None:
  """Downloads `url` to `target`, which appears only once it is complete and right.

  What has arrived stands in a `.part` file beside it, from where the next call goes on.

  Args:
    url: http or https.
    target: the file to make.
    size: of the file, in bytes.
    sha256: of the file, in hexadecimal digits.

  Raises:
    Unreachable: nothing or not everything could be had; try again.
    UserError: what came is not what was expected; it has been removed.
  """
  part = target.with_name(target.name + ".part")
  target.parent.mkdir(parents=True, exist_ok=True)
  try:
    _append(url, part, size)
  except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
    raise Unreachable(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from None
  if part.stat().st_size < size:
    raise Unreachable(f"{url} broke off after {part.stat().st_size} of {size} bytes")
  with part.open("rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest()
  if found != sha256:
    part.unlink()
    raise UserError(
      f"{url} has the SHA-256 {found}, not {sha256}; what came was removed, so that the next run "
      "fetches it afresh"
    )
  part.replace(target)


def _append(url: str, part: pathlib.Path, size: int) -> None:
  done = part.stat().st_size if part.exists() else 0
  if done >= size:
    return
  request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"})
  columns = (
    rich.progress.TextColumn("{task.description}"),
    rich.progress.BarColumn(),
    rich.progress.DownloadColumn(),
    rich.progress.TransferSpeedColumn(),
    rich.progress.TimeRemainingColumn(),
  )
  with (
    urllib.request.urlopen(request, timeout=_SECONDS) as response,
    rich.progress.Progress(*columns) as bar,
  ):
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT  # else it sends everything
    task = bar.add_task(url.rsplit("/", 1)[-1], total=size, completed=done if resumed else 0)
    with part.open("ab" if resumed else "wb") as file:
      while block := response.read(_BLOCK):
        file.write(block)
        bar.advance(task, len(block))
