"""The loader of the compiled kernels: what it keeps, and what it does without."""

import os
import pathlib
import subprocess
import sys

import pytest

from resnet_jax.native import compiler, library

# What the loader asks of the kernels, quick to compile.
STAND_IN = """
extern "C" {
int vector_bytes() { return 32; }
void* forward_float32(void*) { return nullptr; }
void* forward_float64(void*) { return nullptr; }
void* backward_float32(void*) { return nullptr; }
void* backward_float64(void*) { return nullptr; }
void* weights_float32(void*) { return nullptr; }
void* weights_float64(void*) { return nullptr; }
}
"""
LOAD = """
import pathlib, sys
from resnet_jax.native import library
library.SOURCE = pathlib.Path(sys.argv[1])
print(library.lanes("float32"))
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
  """A loader of the stand-in, which has loaded nothing; XLA is told of nothing."""
  path = tmp_path / "kernels.cc"
  path.write_text(STAND_IN)
  monkeypatch.setattr(library, "SOURCE", path)
  monkeypatch.setattr(library.jax.ffi, "register_ffi_target", lambda *_, **__: None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.delenv("CXX", raising=False)
  library._load.cache_clear()
  yield path
  library._load.cache_clear()


@pytest.fixture
def compiled(source, monkeypatch):
  """The calls of a compiler that have compiled; skips where there is none."""
  try:
    compiler.command()
  except OSError:
    pytest.skip("there is no C++ compiler")
  calls, output = [], compiler.output

  def heard(words, seconds):
    calls.extend([words] if "-o" in words else [])
    return output(words, seconds)

  monkeypatch.setattr(compiler, "output", heard)
  return calls


def again():
  """What another process would load."""
  library._load.cache_clear()
  return library.lanes("float32")


def kept():
  """All that lies in the cache's folder."""
  return list((library.paths.cache() / "native").iterdir())


def script(folder, text):
  """A `c++` that is a shell script, in a folder of its own."""
  folder.mkdir()
  (folder / "c++").write_text(f"#!/bin/sh\n{text}\n")
  (folder / "c++").chmod(0o755)
  return str(folder)


def warned(caplog):
  (record,) = caplog.records
  return record.getMessage()


def test_it_is_compiled_once_and_kept(compiled, capsys):
  assert library.available() and library.lanes("float32") == 8 and library.lanes("float64") == 4
  assert again() == 8
  assert len(compiled) == 1 and len(kept()) == 1
  assert capsys.readouterr().err.count("compiling the kernels for this processor") == 1


@pytest.mark.usefixtures("source")
def test_without_a_compiler_there_are_none(monkeypatch, caplog):
  monkeypatch.setenv("PATH", "")
  monkeypatch.setenv("CXX", "/nowhere/c++")
  assert not library.available() and library.lanes("float32") == 0
  assert warned(caplog) == "no kernels of our own: there is no C++ compiler"


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("version", ["", '[ "$1" = --version ] && exit 0'])
def test_a_compiler_that_fails_says_why(tmp_path, monkeypatch, caplog, version):
  text = f"{version}\necho 'in a file' >&2\necho 'error: no licence' >&2\nexit 1"
  monkeypatch.setenv("PATH", script(tmp_path / "bin", text))
  assert library.load() is None and library.load() is None
  assert warned(caplog).endswith("c++: error: no licence")


@pytest.mark.usefixtures("source")
def test_a_compiler_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch, caplog):
  started = tmp_path / "started"
  text = f'[ "$1" = --version ] && exit 0\nPATH=/usr/bin:/bin sleep 600 & echo $! > {started}\nwait'
  script(tmp_path / "bin", text)
  monkeypatch.setenv("CXX", str(tmp_path / "bin" / "c++"))
  monkeypatch.setattr(library, "SECONDS", 2)
  assert library.load() is None
  assert warned(caplog).endswith("c++ does not end within 2 s")
  stat = pathlib.Path(f"/proc/{started.read_text().strip()}/stat")
  assert not stat.exists() or stat.read_text().split()[2] == "Z"


@pytest.mark.usefixtures("source")
def test_quotes_that_do_not_close_are_told(monkeypatch, caplog):
  monkeypatch.setenv("CXX", "'c++")
  assert library.load() is None
  assert "No closing quotation" in warned(caplog)


@pytest.mark.usefixtures("source")
def test_the_compiler_may_have_arguments(monkeypatch, compiled):
  monkeypatch.setenv("CXX", "env c++ -DNOTHING='1 2'")
  assert library.available()
  assert compiled[0][1:3] == ["c++", "-DNOTHING=1 2"]


def halved(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
  path.write_bytes(b"")


def zeroed(path):
  path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [halved, emptied, zeroed])
def test_a_damaged_file_is_compiled_again(compiled, damage):
  assert library.available()
  (path,) = kept()
  path.rename(path.with_suffix(".loaded"))  # what this process has loaded stays as it is
  path.write_bytes(path.with_suffix(".loaded").read_bytes())
  path.with_suffix(".loaded").unlink()
  whole = path.read_bytes()
  damage(path)
  assert again() == 8 and len(compiled) == 2
  assert kept() == [path] and path.stat().st_size == len(whole)


def test_a_kept_file_that_lacks_a_kernel_is_compiled_again(source, compiled):
  command = compiler.command()
  path = library.paths.cache() / "native" / f"{library._key(command)}.so"
  built = source.with_name("other.so")
  source.with_name("other.cc").write_text('extern "C" int other() { return 0; }')
  compiler.output([*command, *library.FLAGS, str(source.with_name("other.cc")), "-o", built], 60)
  library._keep(built, path)
  compiled.clear()
  assert library.lanes("float32") == 8 and len(compiled) == 1


def test_kernels_that_lack_one_are_none(source, compiled, caplog):
  source.write_text(STAND_IN.replace("forward_float64", "backward"))
  assert library.load() is None and len(compiled) == 1
  assert warned(caplog).endswith("the compiled kernels lack forward_float64")


def test_where_nothing_can_be_kept_it_is_compiled_for_one_process(tmp_path, compiled):
  (tmp_path / "cache").write_text("a file, in which not even root makes folders")
  assert library.lanes("float32") == 8
  assert again() == 8
  assert len(compiled) == 2


def test_two_processes_at_once_leave_one_file(source, compiled, repository):
  program = [sys.executable, "-c", LOAD, str(source)]
  both = [
    subprocess.Popen(program, cwd=repository, env=os.environ, stdout=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  assert [process.communicate(timeout=120)[0] for process in both] == ["8\n", "8\n"]
  assert len(kept()) == 1
  assert again() == 8 and not compiled


def test_a_file_for_another_processor_is_not_loaded(compiled, monkeypatch):
  assert "\n" in compiler.processor()
  assert library.available()
  monkeypatch.setattr(compiler, "processor", lambda: "another")
  assert again() == 8
  assert len(compiled) == 2 and len(kept()) == 2
