"""Sweep files and what they come to: the papers' sets, and what is refused before a run starts."""

import json
import re

import pytest

from resnet_jax import config as config_lib
from resnet_jax.errors import UserError
from resnet_jax.sweep import plan as plan_lib

NET = "configs/resnet.py:depth=8,digits"


@pytest.fixture(autouse=True)
def in_repository(monkeypatch, repository):
  monkeypatch.chdir(repository)


@pytest.fixture
def sweep(tmp_path):
  """Reads a sweep of the rows given as text, over a base."""

  def read(rows, base=NET, settings=None):
    path = tmp_path / "mine.py"
    path.write_text(
      '"""Mine."""\n'
      "from resnet_jax.sweep import Sweep, grid, group, row, zipped\n"
      f"def get_sweep():\n  return Sweep({base!r}, [{rows}], seeds=2)\n"
    )
    return plan_lib.read(str(path), settings or {})

  return read


@pytest.mark.parametrize(
  ("name", "rows", "runs"),
  [
    ("shortcuts", 11, 55),
    ("shortcuts:digits", 11, 33),
    ("after_add", 10, 50),
    ("after_add:digits", 10, 20),
    ("depth", 16, 80),
    ("depth:digits", 16, 48),
  ],
)
def test_the_sweeps_of_the_papers_can_be_run(tmp_path, name, rows, runs):
  path, _, argument = name.partition(":")
  plan = plan_lib.read(f"configs/sweeps/{path}.py" + (":" + argument if argument else ""), {})
  assert plan.name == name
  assert len(plan.rows) == rows
  configs = plan_lib.check(plan, tmp_path / "new")
  assert len(configs) == len({run.workdir for run in configs}) == runs
  assert not (tmp_path / "new").exists()


def test_a_run_is_a_command_that_makes_its_config(sweep, tmp_path):
  plan = sweep('row("gated", {"model.shortcut": "shortcut_gating", "model.gate_bias": -7.0})')
  _, run = plan.runs(tmp_path)
  assert run.workdir == tmp_path / "gated" / "seed1"
  assert run.command == (
    "-m",
    "resnet_jax.main",
    f"--config={NET}",
    "--config.model.shortcut=shortcut_gating",
    "--config.model.gate_bias=-7.0",
    "--config.seed=1",
    f"--workdir={run.workdir}",
  )
  config = plan.config(run)
  assert (config.model.gate_bias, config.model.depth, config.seed) == (-7.0, 8, 1)


def test_first_seeds_of_all_rows_come_before_second_ones(sweep, tmp_path):
  plan = sweep('row("a"), row("b")')
  assert [run.name for run in plan.runs(tmp_path)] == [
    "a, seed 0",
    "b, seed 0",
    "a, seed 1",
    "b, seed 1",
  ]


def test_a_plan_is_kept_and_found_again(sweep, tmp_path):
  plan = sweep(
    '*group("g", [row("a")]), row("b", {"model.depth": 14})', settings={"train.steps": 9}
  )
  plan_lib.save(plan, tmp_path)
  assert plan_lib.load(tmp_path) == plan
  (tmp_path / "sweep.json").write_text("{}")
  with pytest.raises(UserError, match="sweep.json is damaged"):
    plan_lib.load(tmp_path)


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ('row("a", {"model.shortcuts": "conv"})', "a, seed 0: config.model.shortcuts is unknown; did"),
    ('row("a", {"model.depth": "deep"})', "a, seed 0: config.model.depth='deep' is of type str"),
    ('row("a", {"model.depth": 9})', "a, seed 0: model.depth=9 does not fit"),
    ('row("a", {"model.shortcut": "con"})', "a, seed 0: model.shortcut='con' is unknown; did"),
    ('row("a", {"data.batch_size": 16.5})', "float, not int; it must be a whole number"),
    ('row("a", {"optim.name": "adamw"})', "a, seed 0: optim.name='adamw' is unknown; choose from"),
    ('row("a", {"model.shortcut": "gating"})', "'shortcut_gating' or 'exclusive_gating'?"),
    ('row("a", {"optim.drop_at": "9"})', "a, seed 0: config.optim.drop_at='9' does nothing with"),
    ('row("a", {"model.stride_on": "3x3"})', "a, seed 0: config.model.stride_on='3x3' does noth"),
    ('row("a", {"data.dir": "/data"})', "a, seed 0: config.data.dir='/data' does nothing with"),
    ('row("a", {"seed": 3})', "the row 'a' overrides seed; write seeds="),
    ('row("a"), row("a")', "two rows are called 'a'"),
    ('row("a b"), row("A-b")', "'a b' and 'A-b' would share the folder 'a-b'"),
    ('row("!")', "a row cannot be called '!'"),
    ('row("logs")', "a row cannot be called 'logs'"),
    ('*group("g", [row("a")], seeds=-1)', "the row 'a' has seeds=-1"),
    ('row("sweep.json")', "a row cannot be called 'sweep.json'"),
    ('*group("g", [row("a")], seeds=0)', "the row 'a' has seeds=0"),
    ('grid({"model.depth": [8, 14]})', "is no row; join lists of rows with +"),
    ('*zipped({"model.depth": [8, 14], "seed": [1]})', "ValueError: zip() argument 2 is shorter"),
    ("", "the sweep has no rows"),
  ],
)
def test_rows_that_cannot_work_are_refused(sweep, tmp_path, rows, message):
  with pytest.raises(UserError, match=re.escape(message)):
    plan_lib.check(sweep(rows), tmp_path / "new")
  assert not (tmp_path / "new").exists()


def test_a_sweep_that_began_with_what_does_nothing_goes_on(sweep, tmp_path):
  plan = sweep('row("a", {"model.stride_on": "3x3"})')
  plan_lib.save(plan, tmp_path / "w")
  with pytest.raises(UserError, match="does nothing with config.model.unit='basic'"):
    plan_lib.check(plan, tmp_path / "w")
  kept = json.loads((tmp_path / "w" / "sweep.json").read_text())
  del kept["strict"]  # which the version before did not write
  (tmp_path / "w" / "sweep.json").write_text(json.dumps(kept))
  for _ in range(2):
    assert len(plan_lib.check(plan, tmp_path / "w")) == 2
    plan_lib.save(plan, tmp_path / "w")


def test_rows_and_settings_may_be_none(sweep, tmp_path):
  plan = sweep('row("a", {"data.pad": None})', settings={"data.flip": None})
  for run, config in plan_lib.check(plan, tmp_path / "new").items():
    assert config.data.pad is None
    assert {"--config.data.pad=None", "--config.data.flip=None"} <= {*run.command}


def test_a_base_that_is_not_there_is_refused(sweep, tmp_path):
  with pytest.raises(UserError, match="there is no file 'configs/nowhere.py'"):
    plan_lib.check(sweep('row("a")', base="configs/nowhere.py:digits"), tmp_path / "new")


def test_seeds_can_be_chosen_and_none_is_lost(tmp_path):
  def seeds(number):
    plan_lib.save(plan_lib.read("configs/sweeps/after_add.py:digits", {}, number), tmp_path)
    return {row.seeds for row in plan_lib.load(tmp_path).rows}

  assert seeds(2) == {(0, 1)}
  assert seeds(1) == {(0, 1)}
  assert seeds(None) == {(0, 1, 2), (0, 1)}


def test_a_file_that_is_no_sweep_is_refused(tmp_path):
  with pytest.raises(UserError, match="is a config file of one run; run it by python -m .*main"):
    plan_lib.read(NET, {})
  (tmp_path / "other.py").write_text("x = 1")
  with pytest.raises(UserError, match="has no function get_sweep"):
    plan_lib.read(str(tmp_path / "other.py"), {})
  (tmp_path / "other.py").write_text("def get_sweep(): return 3")
  with pytest.raises(UserError, match="TypeError: get_sweep.. takes 0 positional arguments"):
    plan_lib.read(f"{tmp_path / 'other.py'}:digits", {})
  (tmp_path / "other.py").write_text("def get_sweep(): return 3")
  with pytest.raises(UserError, match="returned 3; it must return a Sweep"):
    plan_lib.read(str(tmp_path / "other.py"), {})


def test_a_setting_of_all_rows_must_not_be_one_of_theirs(sweep):
  with pytest.raises(UserError, match="--config.model.depth is what the row 'a' sets"):
    sweep('row("a", {"model.depth": 14})', settings={"model.depth": 20})
  with pytest.raises(UserError, match="--config.seed is what a sweep varies; write --seeds=3"):
    sweep('row("a")', settings={"seed": 7})


def test_a_folder_of_something_else_is_refused(sweep, tmp_path):
  plan, folder = sweep('row("a")'), tmp_path / "folder"
  (folder / "letters").mkdir(parents=True)
  with pytest.raises(UserError, match="is not empty and holds no sweep"):
    plan_lib.check(plan, folder)
  (folder / "letters").rmdir()
  (folder / "config.json").touch()  # of a run that has not saved
  with pytest.raises(UserError, match="is not empty and holds no sweep"):
    plan_lib.check(plan, folder)
  (folder / "config.json").rename(folder / "log.txt")
  plan_lib.check(plan, folder)
  plan_lib.save(plan, folder)
  plan_lib.check(plan, folder)
  (folder / "sweep.json").write_text(
    json.dumps(json.loads((folder / "sweep.json").read_text()) | {"name": "shortcuts:digits"})
  )
  with pytest.raises(UserError, match="holds the sweep 'shortcuts:digits' over .* not 'mine'"):
    plan_lib.check(plan, folder)


def test_a_run_of_another_config_is_refused_before_any_starts(sweep, tmp_path):
  plan = sweep('row("a"), row("b")')
  plan_lib.save(plan, tmp_path / "w")
  run = plan.runs(tmp_path / "w")[3]
  config = plan.config(run)
  config.optim.momentum = 0.5
  run.workdir.mkdir(parents=True)
  (run.workdir / "config.json").write_text(json.dumps(config_lib.to_json(config)))
  with pytest.raises(UserError, match=r"b, seed 1: .*optim.momentum: 0.5 -> 0.9"):
    plan_lib.check(plan, tmp_path / "w")
  # Another length too: rows are compared over one budget.
  config.optim.momentum, config.train.steps = 0.9, 10
  (run.workdir / "config.json").write_text(json.dumps(config_lib.to_json(config)))
  with pytest.raises(UserError, match=r"b, seed 1: .*train.steps: 10 -> '1440 steps'"):
    plan_lib.check(plan, tmp_path / "w")
