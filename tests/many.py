"""Starts the real command as several processes on this machine, and waits for them."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time

from tests.warm import ROOT, Command


def free_port():
  """One of those that the system does not give to connections, which could take it meanwhile."""
  while True:
    port = random.SystemRandom().randrange(20_000, 32_000)
    with socket.socket() as probe, contextlib.suppress(OSError):
      probe.bind(("localhost", port))
      return port


def python(module, *flags, env, out):
  """A command as a user starts it, who has no process that is warm."""
  program = [sys.executable, "-m", module, *flags]
  return subprocess.Popen(program, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)


class Processes:
  """`resnet_jax.main` as `processes` processes of so many virtual CPU devices each.

  Each has its output in `<logs>/<number>.log`; one process alone is started without the flags of
  several. `own` has more flags of single processes, by their number, and `xla` more of XLA's.
  """

  def __init__(
    self, processes, logs, *flags, devices=1, own=None, xla="", start=Command, **environment
  ):
    logs.mkdir(parents=True, exist_ok=True)
    self.logs = [logs / f"{number}.log" for number in range(processes)]
    variables = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {xla}",
      **environment,
    }
    coordinator = f"--coordinator=localhost:{free_port()}"
    self.all = []
    for number, log in enumerate(self.logs):
      several = [coordinator, f"--process_id={number}", f"--num_processes={processes}"]
      more = (several if processes > 1 else []) + (own or {}).get(number, [])
      with log.open("w") as out:
        self.all.append(start("resnet_jax.main", *flags, *more, env=variables, out=out))

  def codes(self, seconds=600):
    """Waits for the end of all; returns their exit codes."""
    end = time.monotonic() + seconds
    try:
      return [process.wait(max(0.1, end - time.monotonic())) for process in self.all]
    finally:
      self.kill()

  def kill(self):
    """Ends what is left."""
    for process in self.all:
      process.kill()
      process.wait()

  def running(self):
    return any(process.poll() is None for process in self.all)

  def said(self, number=0):
    """What a process has written so far."""
    return self.logs[number].read_text(errors="replace")

  def until(self, true, seconds=600):
    """Waits until `true()` or the end of all; returns whether it came true."""
    end = time.monotonic() + seconds
    while not true():
      assert time.monotonic() < end, "\n".join(map(self.said, range(len(self.all))))
      if not self.running():
        return bool(true())
      time.sleep(0.05)
    return True
