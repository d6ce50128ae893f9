"""Commands as forks of a process that has imported the libraries.

A start of `python -m resnet_jax.main` spends most of its time on importing JAX and its kin, which
is the same in each of the many starts of these tests. Here one process imports them, and nothing
of ours, and waits; a command is a fork of it, which imports our modules and runs them as
`python -m` does: a process of its own, with its own environment, output, signals and exit code.
Where the imports themselves matter, tests start a Python of their own.
"""

import atexit
import functools
import gc
import json
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).parent.parent
LIBRARIES = [
  *("absl.app", "flax.linen", "flax.struct", "jax", "jax.experimental.multihost_utils"),
  *("matplotlib.backends.backend_agg", "ml_collections.config_flags", "optax"),
  *("orbax.checkpoint", "PIL.Image", "rich.progress", "safetensors.numpy", "tensorboardX"),
]
SIZE = 8  # bytes of an answer
_TURN = threading.Lock()


class Command:
  """`python -m <module> <flags>`, started in `cwd`; to be used as a `subprocess.Popen`.

  Both its streams go to `out`, a file, where one is given.
  """

  def __init__(self, module, *flags, cwd=ROOT, env=os.environ, out=None):
    self._files = [out or tempfile.TemporaryFile(), out or tempfile.TemporaryFile()]  # noqa: SIM115
    request = {"argv": [module, *map(str, flags)], "cwd": str(cwd), "env": dict(env)}
    self._answers, theirs = socket.socketpair()
    with theirs:
      passed = [theirs.fileno(), *(file.fileno() for file in self._files)]
      with _TURN:
        socket.send_fds(_server(), [json.dumps(request).encode() + b"\n"], passed)
    self.returncode = None
    self.pid = self._answer(60)

  def _answer(self, seconds):
    """The next number that the parent of the command tells; None if none comes in time."""
    self._answers.settimeout(seconds)
    try:
      answer = self._answers.recv(SIZE)
    except (TimeoutError, BlockingIOError):
      return None
    assert len(answer) == SIZE, "the parent of the command has gone"
    return int.from_bytes(answer, sys.byteorder, signed=True)

  def wait(self, timeout=None):
    if self.returncode is None:
      self.returncode = self._answer(timeout)
    if self.returncode is None:
      raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
    return self.returncode

  def poll(self):
    try:
      return self.wait(0)
    except subprocess.TimeoutExpired:
      return None

  def communicate(self, timeout=None):
    """Waits; returns what stands in the files of the two streams."""
    self.wait(timeout)
    return tuple(os.pread(file.fileno(), 2**24, 0).decode() for file in self._files)

  def send_signal(self, number):
    if self.poll() is None:
      os.kill(self.pid, number)

  def terminate(self):
    self.send_signal(signal.SIGTERM)

  def kill(self):
    self.send_signal(signal.SIGKILL)


@functools.cache
def _server():
  """The way to the process that forks, which ends when this one does."""
  ours, theirs = socket.socketpair()
  with theirs:
    program = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
    subprocess.Popen(program, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
  return ours


def wait_for_request(server):
  """Returns a request and its files, in a fork for each."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
  signal.signal(signal.SIGCHLD, signal.SIG_IGN)
  while True:
    text, passed = b"", []
    while not text.endswith(b"\n"):
      part, files, *_ = socket.recv_fds(server, 2**16, 3)
      if not part:
        sys.exit()  # the tests have ended
      text, passed = text + part, passed + files
    if os.fork() == 0:
      server.close()
      return json.loads(text), child_of_its_own(*passed)
    for file in passed:
      os.close(file)


def child_of_its_own(answers, *files):
  """Returns the files in a child, while this process tells its number and its exit code."""
  signal.signal(signal.SIGCHLD, signal.SIG_DFL)
  child = os.fork()
  if child == 0:
    os.close(answers)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return files
  for file in files:
    os.close(file)

  def tell(number):
    return os.write(answers, number.to_bytes(SIZE, sys.byteorder, signed=True))

  tell(child)
  tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
  os._exit(0)


def become(request, files):
  """What a Python started with this folder, this environment and these files would be."""
  import jax

  for number, file in enumerate(files, 1):
    os.dup2(file, number)
    os.close(file)
  os.chdir(request["cwd"])
  os.environ.clear()
  os.environ.update(request["env"])
  # Of the variables that JAX reads when it is imported, the one that tests change.
  jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR"))
  sys.path[:1] = [request["cwd"], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
  for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding=os.environ.get("PYTHONIOENCODING", "utf-8"))
  sys.argv = request["argv"]


def leave(end):
  """Ends as Python does, but takes nothing apart: that alone is half the time of a short command.

  `end`: an exit code, or a text for the standard error.
  """
  if not isinstance(end, int):
    print(end, file=sys.stderr)
    end = 1
  threading._shutdown()  # waits for threads
  atexit._run_exitfuncs()
  for stream in (sys.stdout, sys.stderr):
    stream.flush()
  os._exit(end & 0xFF)


if __name__ == "__main__":
  for library in LIBRARIES:
    __import__(library)
  # A collection in a fork, as at its exit, would copy every page that it shares with this process.
  gc.freeze()
  with socket.socket(fileno=int(sys.argv[1])) as requests:
    given, streams = wait_for_request(requests)
  become(given, streams)
  end = 0
  try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
  except SystemExit as error:
    end = error.code or 0
  leave(end)
