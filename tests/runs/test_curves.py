"""The picture is drawn whole, from any rows a run can have."""

import pytest
from matplotlib.figure import Figure
from PIL import Image

from resnet_jax.runs import curves
from resnet_jax.runs.headline import ERROR


def row(step, split, error):
  return {"step": step, "split": split, "error": error}


LONG = [row(s, split, 5 + 9e4 / s) for s in range(1000, 64001, 1000) for split in ("train", "test")]


@pytest.fixture
def drawn(tmp_path, monkeypatch):
  """Plots rows; returns the axes."""
  figures = []
  save = Figure.savefig
  monkeypatch.setattr(
    Figure, "savefig", lambda self, path: (figures.append(self), save(self, path))
  )

  def draw(rows):
    path = tmp_path / "plots" / "curves.png"
    path.parent.mkdir(exist_ok=True)
    curves.plot(rows, ERROR, path, "a title")
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]
    with Image.open(path) as image:
      assert image.format == "PNG"
    return figures[-1].axes[0]

  return draw


def test_test_error_is_solid_and_training_error_dashed(drawn):
  axes = drawn(LONG)
  lines = {line.get_label(): line for line in axes.get_lines()}
  assert lines["test"].get_linestyle() == "-"
  assert lines["train"].get_linestyle() == "--"
  assert lines["test"].get_color() == lines["train"].get_color()
  assert list(lines["test"].get_ydata()) == [r["error"] for r in LONG if r["split"] == "test"]


def test_axes_begin_at_zero_and_many_iterations_are_in_1e4(drawn):
  axes = drawn(LONG)
  assert axes.get_ylim()[0] == axes.get_xlim()[0] == 0
  assert axes.get_xlabel() == "iterations"
  assert axes.get_ylabel() == "error (%)"
  assert axes.xaxis.get_offset_text().get_text() == "1e4"
  assert drawn(LONG[:8]).xaxis.get_offset_text().get_text() == ""


@pytest.mark.parametrize("rows", [[], [row(60, "test", 50.0)], [row(60, "train", 0.0)]])
def test_few_rows_are_drawn_too(drawn, rows):
  axes = drawn(rows)
  assert len(axes.get_lines()) == len(rows)
  assert all(line.get_marker() == "o" for line in axes.get_lines())
