"""What a person sees of a sweep."""

import io
import pathlib

import pytest
from rich.console import Console

from resnet_jax.sweep.plan import Plan, PlannedRow
from resnet_jax.sweep.status import Status
from resnet_jax.sweep.table import Screen

RUNS = Plan(
  "mine",
  "Mine",
  "",
  {},
  (PlannedRow("a", "g", "g-a", {}, (0, 1, 2)), PlannedRow("b", "g", "g-b", {}, (0,))),
).runs(pathlib.Path("w"))
DONE = Status("done", 100, 100, result={"test_error": 7.5})
FOUND = dict(
  zip(
    RUNS,
    [
      DONE,
      Status("failed", reason="the disk is full"),
      Status("running", 41, 100),
      Status("waiting"),
    ],
    strict=True,
  )
)


@pytest.fixture
def show():
  """Shows some states one after another; returns what stands on the terminal or in the file."""

  def show(*states, terminal):
    out = io.StringIO()
    with Screen(RUNS, Console(file=out, force_terminal=terminal, width=80)) as table:
      for found in states:
        table.update(found)
    return out.getvalue()

  return show


def test_a_terminal_has_a_row_of_the_sweep_in_a_line(show):
  said = show(FOUND, terminal=True)
  lines = [line.split() for line in said.splitlines()]
  assert any(line[:2] == ["g,", "a"] and "7.50" in line[2] for line in lines)
  assert "running 41 %" in said
  assert "1 done, 1 failed, 1 running, 1 waiting" in said
  assert "g, b, seed 0: the disk is full" in said


def test_without_one_a_line_tells_a_change_once(show):
  begun = dict.fromkeys(RUNS, Status("waiting")) | {RUNS[0]: Status("running", 3, 100)}
  assert show(begun, begun, FOUND, FOUND, terminal=False).splitlines() == [
    "[0/4]  g, a, seed 0: running",
    "[1/4]  g, a, seed 0: done, test error 7.50 %",
    "[1/4]  g, b, seed 0: failed: the disk is full",
    "[1/4]  g, a, seed 1: running",
  ]


def test_what_was_done_before_is_said_to_be(show):
  found = dict.fromkeys(RUNS, DONE)
  said = show(found, found, terminal=False).splitlines()
  assert said[0] == "[4/4]  g, a, seed 0: done already, test error 7.50 %"
  assert len(said) == 4
