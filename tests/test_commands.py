"""What `python -m` says of modules that are no commands."""

import importlib.util
import re
import runpy
import sys

import pytest

from resnet_jax import __main__ as commands


@pytest.mark.parametrize(("argument", "code", "stream"), [([], 2, "err"), (["--help"], 0, "out")])
def test_the_package_lists_its_commands(monkeypatch, capsys, argument, code, stream):
  monkeypatch.setattr(sys, "argv", ["__main__.py", *argument])
  with pytest.raises(SystemExit) as end:
    runpy.run_module("resnet_jax", run_name="__main__", alter_sys=False)
  assert end.value.code == code
  said = getattr(capsys.readouterr(), stream)
  assert "--config=configs/preact1001.py:digits --workdir=runs/digits" in said
  listed = re.findall(r"^python -m (\S+)", said, re.MULTILINE)
  assert len(listed) == 7
  assert all(importlib.util.find_spec(name) for name in listed)
  assert said == commands.COMMANDS


@pytest.mark.parametrize(
  ("module", "flags"),
  [
    ("train", ""),
    ("evaluate", "--mode=eval "),
    ("describe", "--mode=describe "),
  ],
)
def test_a_module_that_is_no_command_names_the_one_to_run(monkeypatch, module, flags):
  monkeypatch.setattr(sys, "argv", [f"/x/{module}.py", "--config=a b.py"])
  with pytest.raises(SystemExit) as end:
    runpy.run_module(f"resnet_jax.{module}", run_name="__main__")
  assert end.value.code == (
    f"error: resnet_jax.{module} is no command; run python -m resnet_jax.main {flags}"
    "'--config=a b.py'"
  )
