"""The compiled kernels: built once for each processor, compiler and version, kept, and loaded."""

import contextlib
import ctypes
import functools
import hashlib
import logging
import pathlib
import sys
import tempfile
import threading

import jax
import jaxlib

from resnet_jax.config import paths
from resnet_jax.native import compiler
from resnet_jax.runs.progress import BestEffort

SOURCE = pathlib.Path(__file__).with_name("convolution.cc")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-w")
SECONDS = 300.0  # a compiler that takes longer is given up
TARGETS = [
  f"{what}_{dtype}"
  for what in ("forward", "backward", "weights")
  for dtype in ("float32", "float64")
]
DIGEST = hashlib.sha256().digest_size
_one_at_a_time = threading.Lock()


def lanes(dtype: str) -> int:
  """How many values of a type a vector of this processor holds; 0 where there are no kernels."""
  library = load()
  return 0 if library is None else library.vector_bytes() // jax.numpy.dtype(dtype).itemsize


def available() -> bool:
  """Whether there are kernels; the first call may compile them."""
  return load() is not None


def load() -> ctypes.CDLL | None:
  """The kernels, known to XLA by their names; None where they cannot be had, which is logged."""
  with _one_at_a_time:
    return _load()


@functools.cache
def _load() -> ctypes.CDLL | None:
  try:
    library = _kept_or_compiled()
  except (OSError, ValueError) as error:
    logging.getLogger(__name__).warning("no kernels of our own: %s", error)
    return None
  for target in TARGETS:
    capsule = jax.ffi.pycapsule(getattr(library, target))
    jax.ffi.register_ffi_target(f"resnet_jax_{target}", capsule, platform="cpu")
  return library


def _kept_or_compiled() -> ctypes.CDLL:
  command = compiler.command()
  path = paths.cache() / "native" / f"{_key(command)}.so"
  with contextlib.suppress(OSError):  # not there, or damaged
    return _open_kept(path)
  text = "compiling the kernels for this processor, some 10 s, once ..."
  print(text, file=BestEffort(sys.stderr), flush=True)  # type: ignore[arg-type]
  with tempfile.TemporaryDirectory() as folder:
    built = pathlib.Path(folder) / path.name
    arguments = [*FLAGS, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(built)]
    compiler.output([*command, *arguments], SECONDS)
    try:
      _keep(built, path)
      return _open_kept(path)
    except OSError:  # nothing can be kept there: for this process alone
      return _open(built)


def _key(command: list[str]) -> str:
  """What a file was built of, by and for: one that was built for another processor has another."""
  by = [*command, compiler.output([*command, "--version"], 30.0), *FLAGS]
  sources = SOURCE, *sorted(SOURCE.parent.glob("*.h"))
  parts = *(path.read_text() for path in sources), *by, jaxlib.__version__, compiler.processor()
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _keep(built: pathlib.Path, path: pathlib.Path) -> None:
  """Copies a file with its digest behind it, all at once: another process may look for it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  code = built.read_bytes()
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    copy = pathlib.Path(folder) / path.name
    copy.write_bytes(code + hashlib.sha256(code).digest())
    copy.replace(path)


def _open_kept(path: pathlib.Path) -> ctypes.CDLL:
  """Raises an OSError where it is not as it was written: loading half of it would end Python."""
  content = path.read_bytes()
  if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
    raise OSError(f"{path} is damaged")
  return _open(path)


def _open(path: pathlib.Path) -> ctypes.CDLL:
  library = ctypes.CDLL(str(path))
  for name in ("vector_bytes", *TARGETS):
    if not hasattr(library, name):
      raise OSError(f"the compiled kernels lack {name}")
  return library
