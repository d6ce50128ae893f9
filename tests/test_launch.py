"""When .venv is made anew: the scripts in a copy, with an installer that only takes notes."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

# Stands for `uv venv --python P .venv` and `uv pip install`: the "venv" runs Python scripts' -c
# with the true interpreter, and prints the arguments of everything else.
UV = f"""#!/usr/bin/env bash
echo "$*" >>"$NOTES"
if [ "$1" = venv ]; then
  mkdir -p .venv/bin
  cat >.venv/bin/python <<'EOF'
#!/usr/bin/env bash
if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi
echo "ran $*"
exit "${{RETURNS:-0}}"
EOF
  chmod +x .venv/bin/python
else
  exit "${{FAILS:-0}}"
fi
"""

# Stands for an interpreter, its venv and the pip there.
PYTHON = f"""#!/usr/bin/env bash
case "$*" in
  *_base_executable*) echo "$0" ;;
  -c*) exec {sys.executable} "$@" ;;
  *)
    echo "$*" >>"$NOTES"
    mkdir -p .venv/bin
    [ -e .venv/bin/python ] || cp "$0" .venv/bin/python
    ;;
esac
"""
PIP = "-m pip install --quiet --disable-pip-version-check -e .[cpu]"


@pytest.fixture
def launch(tmp_path, repository):
  """Runs a script in a copy; returns its process and what the installer was asked."""
  copy, programs, notes = tmp_path / "copy", tmp_path / "programs", tmp_path / "notes"
  shutil.copytree(repository / "launch", copy / "launch")
  for name in ("requirements.txt", "pyproject.toml"):
    shutil.copy(repository / name, copy / name)
  programs.mkdir()
  (programs / "uv").write_text(UV)
  (programs / "uv").chmod(0o755)

  def run(*flags, script="local.sh", note=True, **environment):
    if note:
      notes.write_text("")
    process = subprocess.run(
      ["bash", copy / "launch" / script, *flags],
      env=os.environ
      | {"PATH": f"{programs}:{os.environ['PATH']}", "NOTES": str(notes), "PYTHON": sys.executable}
      | environment,
      cwd=tmp_path,
      capture_output=True,
      text=True,
      timeout=60,
    )
    return process, notes.read_text().splitlines()

  run.copy, run.notes = copy, notes
  return run


def test_the_first_run_installs_and_the_second_only_runs(launch):
  process, asked = launch("--mode=describe", "--config=a b")
  assert process.returncode == 0, process.stderr
  assert process.stdout.endswith("ran -m resnet_jax.main --mode=describe --config=a b\n")
  assert [line.split()[0] for line in asked] == ["venv", "pip"]
  assert f"--python {sys._base_executable} .venv" in asked[0]  # not a venv's, which may go
  assert asked[1].endswith("pip install --quiet --python .venv/bin/python -e .[cpu]")
  process, asked = launch()
  assert asked == []
  flags = "--config=configs/preact1001.py:digits --workdir=runs/preact1001-digits"
  assert process.stdout == f"ran -m resnet_jax.main {flags}\n"


def test_other_requirements_or_a_broken_interpreter_make_it_stale(launch):
  launch()
  with (launch.copy / "requirements.txt").open("a") as file:
    file.write("another\n")
  assert [line.split()[0] for line in launch()[1]] == ["pip"]  # a run may be using what is there
  (launch.copy / ".venv" / "bin" / "python").unlink()
  assert len(launch()[1]) == 2
  assert launch()[1] == []


def test_a_venv_of_before_the_package_was_installed_gets_it_and_stays(launch):
  launch()
  kept, stamp = launch.copy / ".venv" / "mine", launch.copy / ".venv" / "stamp"
  kept.touch()
  stamp.write_text(stamp.read_text().split("dev=")[0] + "dev= 3057196212 3031\n")
  assert [line.split()[0] for line in launch()[1]] == ["pip"]
  assert kept.exists()


def test_an_accelerator_and_what_the_tests_need_come_in_one_installation(launch):
  script = 'cd "$(dirname "$0")/.."; source launch/setup.sh; set_up 1'
  (launch.copy / "launch" / "dev.sh").write_text(script)
  assert launch(script="dev.sh")[1][1].endswith(" -e .[cpu,dev]")
  assert launch(script="dev.sh", EXTRA="cuda")[1][1].endswith(" -e .[cuda,dev]")


def test_without_uv_it_is_pip_that_installs(launch, tmp_path):
  (tmp_path / "programs" / "uv").unlink()
  (tmp_path / "python").write_text(PYTHON)
  (tmp_path / "python").chmod(0o755)
  process, asked = launch(PYTHON=str(tmp_path / "python"), PATH="/usr/bin:/bin")
  assert process.returncode == 0, process.stderr
  assert asked[:2] == ["-m venv .venv", PIP]


def test_an_installation_that_failed_is_begun_again(launch):
  process, _ = launch(FAILS="3")
  assert process.returncode == 3
  assert "ran" not in process.stdout
  assert [line.split()[0] for line in launch()[1]] == ["pip"]
  assert launch()[1] == []


def test_two_starts_at_once_set_up_once(launch):
  with ThreadPoolExecutor(2) as threads:
    first, second = threads.map(lambda _: launch(note=False)[0], range(2))
  assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1]
  assert len(launch.notes.read_text().splitlines()) == 2


def test_an_accelerator_is_asked_for_by_name(launch):
  assert launch(EXTRA="cuda")[1][1].endswith("-e .[cuda]")
  assert launch()[1] == []  # and kept
  assert len(launch(EXTRA="cpu")[1]) == 2
  process, asked = launch(EXTRA="gpu")
  assert process.returncode == 1
  assert process.stderr == "error: EXTRA=gpu is unknown; choose cuda, tpu or cpu\n"
  assert asked == []


def test_a_python_too_old_or_absent_is_refused(launch, tmp_path):
  old = tmp_path / "old"
  old.write_text('#!/bin/sh\ncase "$2" in *exit*) exit 1;; *) echo 3.9.1;; esac\n')
  old.chmod(0o755)
  process, asked = launch(PYTHON=str(old))
  assert process.returncode == 1
  assert process.stderr == f"error: {old} is Python 3.9.1; 3.11 or newer is needed (set PYTHON)\n"
  assert asked == []
  process, _ = launch(PYTHON="no-such-python")
  assert process.returncode == 1
  assert process.stderr == (
    "error: PYTHON=no-such-python does not run; name an interpreter of Python 3.11 or newer\n"
  )


def test_exit_code_and_signals_are_those_of_the_run(launch):
  assert launch(RETURNS="75")[0].returncode == 75
  python = launch.copy / ".venv" / "bin" / "python"
  python.write_text(
    f'#!/usr/bin/env bash\nif [ "$1" = -c ]; then exit 0; fi\n'
    f'exec {sys.executable} -c "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"\n'
  )
  assert launch()[0].returncode == -signal.SIGTERM


def test_sweeps_run_one_after_another_and_end_with_one_page(launch):
  process, _ = launch("depth", "shortcuts:digits", script="sweeps.sh")
  assert process.returncode == 0, process.stderr
  assert process.stdout.splitlines()[-3:] == [
    "ran -m resnet_jax.sweep --workdir=runs/depth --config=configs/sweeps/depth.py",
    "ran -m resnet_jax.sweep --workdir=runs/shortcuts-digits "
    "--config=configs/sweeps/shortcuts.py:digits",
    "ran -m resnet_jax.report --workdir=runs/depth --workdir=runs/shortcuts-digits "
    "--out=runs/report",
  ]


def test_a_sweep_that_is_stopped_or_refused_ends_them_all(launch):
  launch()
  for code in (1, 75):
    process, _ = launch(script="sweeps.sh", RETURNS=str(code))
    assert process.returncode == code
    assert process.stdout.count("ran") == 1
