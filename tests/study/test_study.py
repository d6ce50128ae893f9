"""Studies as a user sees them: the command, killed and started again, its page, its refusals."""

import csv
import json
import os
import time

import pytest

from resnet_jax.errors import UserError
from resnet_jax.study import Panel, Study, Sweep, words
from resnet_jax.study.page import curve, table
from resnet_jax.study.run import Measured, Subject
from tests import hurry
from tests.warm import ROOT, Command

TRAINED = '''"""Trained: what is measured of trained nets."""
from resnet_jax.study import Panel, Study, Sweep, row, study


@study("steps_taken")
def steps_taken(net):
  yield {"unit": 1, "error": net.test(net.variables)["error"]}


def get_study(data="digits"):
  rows = [row("original"), row("conv", {"model.shortcut": "conv"})]
  sweep = Sweep(f"configs/resnet.py:depth=8,{data}", rows, seeds=1)
  return Study("steps_taken", sweep, [Panel("error", "test error (%)")], trained=True)
'''
SHORT = [
  f"--config.train.{key}={value}"
  for key, value in {"steps": 6, "log_every": 2, "eval_every": 3, "checkpoint_every": 2}.items()
]


def study(config, folder, *flags):
  return Command(
    "resnet_jax.study",
    f"--config={config}",
    f"--workdir={folder}",
    *flags,
    env=os.environ | {"XLA_FLAGS": hurry.FLAGS},
  )


def finish(process):
  output, errors = process.communicate(timeout=300)
  return process.returncode, output + errors


def times(folder):
  return {path.name: path.stat().st_mtime_ns for path in (folder / "measured").glob("*.json")}


@pytest.mark.slow
def test_it_is_killed_and_goes_on(tmp_path):
  """The example of a study of one's own."""
  example, folder = "examples/largest_weights.py", tmp_path / "study"
  assert len((ROOT / example).read_text().splitlines()) <= 25
  process = study(example, folder, "--seeds=1")
  while process.poll() is None and not times(folder):
    time.sleep(0.01)
  process.kill()
  process.wait(60)
  before = times(folder)
  code, output = finish(study(example, folder, "--seeds=1"))
  assert code == 0, output
  assert len(before) < 3 and len(times(folder)) == 3
  assert before.items() <= times(folder).items()
  assert f"measuring {next(iter(before)).split('-')[0]}, seed 0" not in output
  numbers = list(csv.DictReader((folder / "report" / "numbers.csv").open()))
  assert len(numbers) == 3 * 9  # units
  page = (folder / "report" / "report.md").read_text()
  assert "python -m resnet_jax.study" in page and "3 networks, as initialized" in page
  assert (folder / "report" / "figures" / "largest-weights.svg").is_file()
  code, output = finish(study(example, folder, "--config.model.depth=14"))
  assert code == 1 and "was measured with config.model.depth=20, not 14" in output


@pytest.mark.slow
def test_networks_are_trained_first_and_runs_can_be_given(tmp_path):
  (tmp_path / "mine.py").write_text(TRAINED)
  folder = tmp_path / "study"
  code, output = finish(study(tmp_path / "mine.py", folder, *SHORT))
  assert code == 0, output
  numbers = list(csv.DictReader((folder / "report" / "numbers.csv").open()))
  for row in ("original", "conv"):
    error = json.loads((folder / row / "seed0" / "result.json").read_text())["test_error"]
    assert [float(line["error"]) for line in numbers if line["row"] == row] == [error]
  for run, count in ((folder / "conv" / "seed0", 1), (folder, 2)):
    out = tmp_path / f"of{count}"
    code, output = finish(study(tmp_path / "mine.py", out, f"--run={run}"))
    assert code == 0, output
    assert f"{count} networks, trained" in (out / "report" / "report.md").read_text()


REFUSED = {
  "another kind of file": (
    ["--config=configs/sweeps/depth.py"],
    "run it by python -m resnet_jax.sw",
  ),
  "no such file": (["--config=configs/study/none.py"], "there is no file"),
  "no config": ([], "--config is missing"),
  "a key that there is not": (
    ["--config=examples/largest_weights.py", "--config.model.depht=3"],
    "did you mean config.model.depth?",
  ),
  "a run that is none": (
    ["--config=examples/largest_weights.py", "--run=configs"],
    "holds no sweep",
  ),
  "settings of a run": (
    ["--config=examples/largest_weights.py", "--run=configs", "--seeds=2"],
    "leave --seeds and --config.key=value out",
  ),
  "a net without units": (
    ["--config={folder}/mine.py"],
    "config.model.name='mlp' has no units",
  ),
  "an unknown study": (["--config={folder}/other.py"], "did you mean 'propagation'?"),
  "no study": (["--config={folder}/nothing.py"], "it must return a Study"),
}
FILES = {
  "mine.py": """
import resnet_jax
from resnet_jax.study import *
@resnet_jax.model("mlp")
def mlp(config, head, frozen): ...
def get_config():
  config = resnet_jax.load_config("configs/resnet.py:depth=8,digits")
  config.model.name = "mlp"
  return config
def get_study(): return Study("propagation", Sweep(__file__, [row("mlp")]), [Panel("a", "b")])
""",
  "other.py": """
from resnet_jax.study import *
BASE = "configs/resnet.py:depth=8,digits"
def get_study(): return Study("propagatio", Sweep(BASE, [row("one")]), [Panel("a", "b")])
""",
  "nothing.py": "def get_study(): return 1\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
  for path, text in FILES.items():
    (tmp_path / path).write_text(text)
  given, said = REFUSED[name]
  flags = [flag.format(folder=tmp_path) for flag in given]
  code, output = finish(Command("resnet_jax.study", *flags, f"--workdir={tmp_path / 'out'}"))
  assert code == 1 and said in output, output
  assert output.count("error:") == 1 and "Traceback" not in output
  assert not (tmp_path / "out" / "measured").exists()


def measured(seed, *values):
  subject = Subject("", "a", seed, f"a-{seed}", None, None)
  return Measured(subject, [{"unit": n, "size": v} for n, v in enumerate(values)])


def test_lines_are_medians_over_seeds():
  line = curve([measured(0, 1.0, 5.0), measured(1, 3.0), measured(2, 2.0, 7.0)], Panel("size", ""))
  assert line == ([0, 1], [2.0, 6.0], [1.0, 5.0], [3.0, 7.0])


def test_zero_has_no_place_on_a_logarithmic_axis():
  assert curve([measured(0, 0.0, 5.0)], Panel("size", "", log=True)).x == [1]


def test_the_table_tells_what_a_figure_cannot_draw():
  """A first value of 0 on a logarithmic axis, and one that is not finite."""
  study = Study("sizes", Sweep("", []), [Panel("size", "size", log=True, told="first")])
  for value, told in ((0.0, "0"), (None, "not finite")):
    ((_, name), (_, cell)) = table(study, [measured(0, value, 5.0)]).rows[0]
    assert (name.text, cell.text) == ("a", told)


def test_units_that_sow_nothing_are_named():
  from resnet_jax.study.net import Net

  with pytest.raises(UserError, match="no unit has sown anything"):
    Net(words_config()).units({})


def words_config():
  from resnet_jax.config import default_config

  return default_config()


def test_a_study_of_the_package_is_not_registered_twice():
  with pytest.raises(UserError, match="registered already"):
    from resnet_jax.study.measures import propagation

    assert propagation.propagation.check

    @words.study("propagation")
    def another(net):
      yield {}
