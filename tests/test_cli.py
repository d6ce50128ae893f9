"""What the commands tell before the first seconds are spent, as on the import of JAX."""

import os
import subprocess
import sys

import pytest

from resnet_jax import cli

SLOW = "import sys; sys.exit('it takes seconds')"
NET = "--config=configs/resnet.py:depth=8,digits"


@pytest.mark.parametrize(
  ("slow", "command", "said"),
  [
    ("jax", "main {net} --workdir={w}", "importing JAX and reading the data"),
    ("jax", "main --mode=eval --workdir={w}", "importing JAX and reading the data"),
    ("jax", "main {net} --mode=describe", "importing JAX and tracing the network"),
    ("jax", "main {net} --mode=describe --json", ""),
    ("jax", "main {net} --workdir={w} --devices=8", ""),  # each of many processes would say it
    ("jax", "sweep --config={s} --workdir={w}", "reading {s} and checking every row"),
    ("jax", "sweep --config={s} --workdir={w} --dry_run", "reading {s} and checking every row"),
    ("jax", "convert --weights=a.pth --workdir={w}", "importing JAX and reading a.pth"),
    ("jax", "classify a.jpg --model={w}", "importing JAX and reading {w}"),
    ("jax", "features --model={w} --dir=a --out=a.npz", "importing JAX and reading {w}"),
    ("numpy", "report {made}", "reading the runs in {made}"),
    (
      "matplotlib",
      "report {made} --out={w}",
      "comparing the rows of 0 runs and drawing the figures",
    ),
  ],
)
def test_a_command_says_at_once_what_it_does(tmp_path, repository, slow, command, said):
  (tmp_path / f"{slow}.py").write_text(SLOW)
  made = tmp_path / "made"
  made.mkdir()
  (made / "sweep.json").write_text('{"name":"a","title":"a","base":"","settings":{},"rows":[]}')
  names = {"net": NET, "w": tmp_path / "w", "s": "configs/sweeps/depth.py", "made": made}
  done = subprocess.run(
    [sys.executable, "-m", *f"resnet_jax.{command}".format(**names).split()],
    cwd=repository,
    env=os.environ | {"PYTHONPATH": f"{tmp_path}:{repository}"},
    capture_output=True,
    text=True,
  )
  lines = [f"{said.format(**names)} ..."] if said else []
  assert done.stderr.splitlines()[-len(lines) - 1 :] == [*lines, "it takes seconds"]
  assert done.stdout == ""


def test_nobody_has_to_hear_it(monkeypatch):
  reader, writer = os.pipe()
  os.close(reader)
  with os.fdopen(writer, "w") as gone:
    monkeypatch.setattr(sys, "stderr", gone)
    cli.announce("reading")
    gone.flush()  # as Python does at its end
