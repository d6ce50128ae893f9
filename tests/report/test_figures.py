"""What is drawn: the lines of the runs, on axes that diverging rows do not squash."""

import fake
import pytest
from matplotlib.figure import Figure

from resnet_jax.report import curves, figures
from resnet_jax.report.read import read
from resnet_jax.report.style import BASE, styles

ROWS = {
  "original": {},
  "conv": {"model.shortcut": "conv"},
  "plain": {"model.shortcut": "none"},
  "dropout": {"model.shortcut": "dropout"},
}


@pytest.fixture
def drawn(tmp_path, monkeypatch, repository):
  """Reads a sweep of these rows and draws its errors; returns the panels."""
  monkeypatch.chdir(repository)
  saved = []
  save = figures.save
  monkeypatch.setattr(figures, "save", lambda canvas, *a: (saved.append(canvas), save(canvas, *a)))
  plan = fake.save(tmp_path, ROWS)
  errors = {"original": 4.0, "conv": 6.0, "plain": 80.0, "dropout": 7.0}
  for run in plan.runs(tmp_path):
    state = ("diverged", 0.5) if run.row.name == "dropout" else ("done", 1.0)
    fake.train(tmp_path, plan, run, errors[run.row.name], *state)
  [sweep] = read([tmp_path])
  looks = styles([sweep])
  figures.headlines(sweep.groups[0], "x", looks)
  canvas: Figure = saved[-1]
  return sweep, looks, canvas.axes


def test_training_is_dashed_and_test_solid_in_the_colours_of_the_rows(drawn):
  sweep, looks, (conv, *_) = drawn
  base, row = sweep.groups[0].rows[:2]
  shown = [
    (line.get_color(), line.get_linestyle(), list(line.get_ydata())) for line in conv.get_lines()
  ]
  assert shown == [
    (look.color, style, curves.curve(r.runs, split, "error").median)
    for r, look in ((base, BASE), (row, looks["conv"]))
    for split, style in (("test", "-"), ("train", "--"))
  ]


def test_a_row_that_fails_has_an_axis_of_its_own(drawn):
  _, _, (conv, plain, dropout) = drawn
  assert conv.get_ylim() == dropout.get_ylim() == (0, 10)
  assert plain.get_ylim() == (0, 100)
  assert "axis to 100 %" in [text.get_text() for text in plain.texts]


def test_diverged_runs_end_in_a_cross(drawn):
  _, _, (conv, _, dropout) = drawn
  crosses = [line for line in dropout.get_lines() if line.get_marker() == "x"]
  assert len(crosses) == 4  # training and test of two seeds
  assert all(line.get_xdata()[0] <= 720 for line in crosses)
  assert not [line for line in conv.get_lines() if line.get_marker() == "x"]


def test_styles_belong_to_names(drawn):
  sweep, looks, _ = drawn
  assert looks["original"] == BASE
  assert len(set(looks.values())) == len(ROWS)
  assert styles([sweep, sweep]) == looks


def test_training_rows_are_averaged_from_test_to_test(drawn):
  run = drawn[0].rows[0].runs[0]
  points = curves.points(run, "train", "loss")
  tests = [row["step"] for row in run.measured if row["split"] == "test"]
  assert [step for step, _ in points] == tests
  early = [r["loss"] for r in run.measured if r["split"] == "train" and r["step"] <= tests[0]]
  assert points[0][1] == pytest.approx(sum(early) / len(early))
