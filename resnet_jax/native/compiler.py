"""The C++ compiler of this machine: which one it is, and what comes of calling it."""

import contextlib
import os
import pathlib
import platform
import shlex
import shutil
import signal
import subprocess

NAMES = ("c++", "g++", "clang++")


def command() -> list[str]:
  """That of the first compiler that is there; CXX may hold arguments as well.

  Raises:
    OSError: there is none.
    ValueError: CXX has quotes that do not close.
  """
  for words in (shlex.split(os.environ.get("CXX", "")), *([name] for name in NAMES)):
    if words and (found := shutil.which(words[0])):
      return [found, *words[1:]]
  raise OSError("there is no C++ compiler")


def processor() -> str:
  """The processor with all that it can do, which -march=native asks for."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
  except OSError:
    lines = []
  told = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU", "isa")
  facts = [line for line in lines if line.startswith(told)] or [platform.processor()]
  return "\n".join([platform.machine(), *facts])


def output(words: list[str], seconds: float) -> str:
  """What a command prints.

  Raises:
    OSError: it failed, or did not end in time.
  """
  with subprocess.Popen(
    words,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    errors="replace",
    env=os.environ | {"LC_ALL": "C"},
    start_new_session=True,
  ) as process:
    try:
      printed, errors = process.communicate(timeout=seconds)
    except BaseException as error:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and what it has started
      if isinstance(error, subprocess.TimeoutExpired):
        raise OSError(f"{words[0]} does not end within {seconds:g} s") from None
      raise
  if process.returncode:
    lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
    reason = next((line for line in lines if "error" in line), lines[0])
    raise OSError(f"{words[0]}: {reason[:200]}")
  return printed
