"""The files of a report, from folders as training leaves them."""

import csv
import re
import subprocess
import sys

import fake
import numpy as np
import pytest

from resnet_jax.errors import UserError
from resnet_jax.report import paired
from resnet_jax.report.read import read, select
from resnet_jax.report.write import write
from resnet_jax.runs import metrics

ROWS = {
  "original": {},
  "plain": {"model.shortcut": "none"},
  "1x1 conv shortcut": {"model.shortcut": "conv"},
}
ERRORS = {"original": 5.0, "plain": 40.0, "1x1 conv shortcut": 10.0}
RESNET_110 = "configs/resnet.py:depth=110,digits"


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
  monkeypatch.chdir(repository)  # where the base configs are
  monkeypatch.setattr(paired, "RESAMPLES", 200)


def sweep(folder, rows=ROWS, states=None, **settings):
  """Trains all runs but those that `states` has, by (row, seed), as (state, share) or None."""
  plan = fake.save(folder, rows, **settings)
  for run in plan.runs(folder):
    state = (states or {}).get((run.row.name, run.seed), ("done", 1.0))
    if state:
      fake.train(folder, plan, run, ERRORS.get(run.row.name, 5.0) + run.seed, *state)
  return plan


def report(*folders, out, groups=()):
  write(select(read(folders), groups), out)
  return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def lines(files, name):
  return list(csv.DictReader(files[name].decode().splitlines()))


def markdown_table(files, first="row"):
  """The first table whose first column has that name, as dictionaries by row."""
  found = re.search(rf"((?:\| {first} [^\n]*\n)(?:\|[^\n]*\n)+)", files["report.md"].decode())[1]
  head, _, *rest = [
    [cell.strip().replace("**", "") for cell in line.strip("|").split(" | ")]
    for line in found.strip().split("\n")
  ]
  return {row[0].lstrip("| "): dict(zip(head, row, strict=True)) for row in rest}


def without_timing(files):
  kept = {name: text for name, text in files.items() if name != "timing.csv"}
  html, md = kept["index.html"].decode(), kept["report.md"].decode()
  kept["index.html"] = re.sub(r'<section id="timing">.*?</section>', "", html, flags=re.DOTALL)
  kept["report.md"] = re.sub(r"<!-- timing -->.*?<!-- end of timing -->", "", md, flags=re.DOTALL)
  assert kept["index.html"] != html and kept["report.md"] != md
  return kept


def test_numbers_and_tables_are_those_of_the_runs(tmp_path):
  sweep(tmp_path / "w", base=RESNET_110)
  files = report(tmp_path / "w", out=tmp_path / "out")
  numbers = lines(files, "numbers.csv")
  assert len(numbers) == 6
  assert [float(line["test_error"]) for line in numbers if line["row"] == "original"] == (
    pytest.approx([5.0, 6.0], abs=0.15)
  )
  assert {line["status"] for line in numbers} == {"done"}
  base, plain, conv = lines(files, "rows.csv")
  assert float(base["test_error_median"]) == pytest.approx(5.5, abs=0.15)
  assert base["difference_mean"] == ""
  assert float(conv["difference_mean"]) == pytest.approx(5.0, abs=0.3)
  assert float(conv["difference_low"]) < 5 < float(conv["difference_high"])
  assert (plain["published"], conv["published"]) == ("fail", "12.22")
  assert len(lines(files, "timing.csv")) == 6

  table = markdown_table(files)
  conv_row = table["1x1 conv shortcut"]
  error = "test error on digits (%)"
  assert conv_row[f"{error}: median"] == f"{float(conv['test_error_median']):.2f}"
  assert conv_row[f"{error}: seeds"] == "2 of 2"
  assert conv_row["published, on CIFAR-10 (%): error"] == "12.22"
  assert "fail" not in table["plain"][f"{error}: median"]  # digits are not CIFAR-10
  assert "--config.model.shortcut=conv" in files["index.html"].decode()
  assert {"figures/fake-error.svg", "figures/fake-training-loss.png"} <= files.keys()


def test_every_error_stands_under_the_data_set_it_was_measured_on(tmp_path):
  rows = {
    "digits": {"data.name": "digits"},
    "cifar10": {"data.name": "cifar10"},
    "cifar100": {"data.name": "cifar100"},
  }
  preact = "depth=164,unit=bottleneck,after_add=full_preact"
  sweep(tmp_path / "w", rows, base=f"configs/resnet.py:{preact},digits", seeds=1)
  table = markdown_table(report(tmp_path / "w", out=tmp_path / "out"))
  on_10, on_100 = (f"published, on {name} (%): error" for name in ("CIFAR-10", "CIFAR-100"))
  assert [table[row]["data"] for row in rows] == ["digits", "CIFAR-10", "CIFAR-100"]
  assert [table[row][on_10] for row in rows] == ["5.46", "5.46", ""]
  assert [table[row][on_100] for row in rows] == ["", "", "24.33"]
  assert "test error on each row's own data (%): median" in table["digits"]


def test_over_20_percent_on_cifar10_is_a_fail(tmp_path):
  short = {"train.steps": "6400 steps"}
  rows = {name: overrides | short for name, overrides in ROWS.items()}
  sweep(tmp_path / "w", rows, base="configs/resnet.py:depth=110", seeds=1)
  files = report(tmp_path / "w", out=tmp_path / "out")
  table = markdown_table(files)
  assert table["plain"]["test error on CIFAR-10 (%): median"] == "fail (40.00)"
  assert [line["fail"] for line in lines(files, "rows.csv")] == ["False", "True", "False"]
  assert "6,400 steps of 128 (10 % of the images" in files["report.md"].decode()
  assert "different data" not in files["report.md"].decode()


def test_a_part_of_the_training_set_is_not_called_the_test_set(tmp_path):
  held_out = {"data.test_split": "train[45000:]"}
  sweep(tmp_path / "w", {"original": held_out}, base="configs/resnet.py:depth=110", seeds=1)
  text = report(tmp_path / "w", out=tmp_path / "out")["report.md"].decode()
  assert r"test error on CIFAR-10 train\[45000:\] (%): median" in text


def test_runs_that_are_not_done_are_named_and_do_not_count(tmp_path):
  states = {
    ("original", 1): None,
    ("plain", 0): ("diverged", 0.5),
    ("plain", 1): ("diverged", 0.4),
    ("1x1 conv shortcut", 0): ("failed", 0.3),
    ("1x1 conv shortcut", 1): ("stopped", 0.6),
  }
  sweep(tmp_path / "w", states=states)
  files = report(tmp_path / "w", out=tmp_path / "out")
  text = files["report.md"].decode()
  assert "1 of 6 runs done, 2 diverged, 1 failed, 1 stopped, 1 waiting." in text
  assert "seed 0 diverged at step 723; seed 1 diverged at step 579" in text
  assert "seed 0 failed at step 420 of 1,440: the disk of WORKDIR is full" in text
  assert "seed 1 stopped at step 860 of 1,440" in text
  assert str(tmp_path) not in text + files["index.html"].decode() + files["numbers.csv"].decode()
  medians = [line["test_error_median"] for line in lines(files, "rows.csv")]
  assert medians[0] and medians[1:] == ["", ""]
  assert lines(files, "numbers.csv")[1]["status"] == "waiting"


def test_a_sweep_that_has_not_begun_has_a_page(tmp_path):
  fake.save(tmp_path / "w", ROWS, base=RESNET_110)
  files = report(tmp_path / "w", out=tmp_path / "out")
  assert "0 of 6 runs done, 6 waiting. Data: digits." in files["report.md"].decode()
  assert markdown_table(files)["original"]["published, on CIFAR-10 (%): error"].startswith("6.61")
  assert not [name for name in files if name.startswith("figures")]


def test_one_seed_is_said_to_be_one(tmp_path):
  sweep(tmp_path / "w", seeds=1)
  text = report(tmp_path / "w", out=tmp_path / "out")["report.md"].decode()
  assert "† One seed: the interval is over the test images alone." in text
  assert re.search(r"\+\d\.\d\d to \+\d\.\d\d †", text)


def test_runs_without_predictions_have_errors_but_no_interval(tmp_path):
  plan = sweep(tmp_path / "w")
  for run in plan.runs(tmp_path / "w"):
    (run.workdir / "predictions.npz").write_bytes(b"PK damaged")
  _, plain, _ = lines(report(tmp_path / "w", out=tmp_path / "out"), "rows.csv")
  assert plain["test_error_median"] and not plain["difference_mean"]


def test_the_test_sets_must_be_the_same(tmp_path):
  plan = sweep(tmp_path / "w")
  path = plan.runs(tmp_path / "w")[1].workdir / "predictions.npz"
  other = np.zeros(360, int)
  np.savez(path, predictions=other, labels=other)
  _, plain, conv = lines(report(tmp_path / "w", out=tmp_path / "out"), "rows.csv")
  assert not plain["difference_mean"] and conv["difference_mean"]


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(tmp_path):
  for name, seconds in (("a", 300.0), ("b", 500.0)):
    plan = fake.save(tmp_path / name, ROWS)
    for run in plan.runs(tmp_path / name):
      fake.train(tmp_path / name, plan, run, 5.0 + run.seed, seconds=seconds)
  first = report(tmp_path / "a", out=tmp_path / "out1")
  assert first == report(tmp_path / "a", out=tmp_path / "out2")
  second = report(tmp_path / "b", out=tmp_path / "out3")
  assert first["timing.csv"] != second["timing.csv"]
  assert without_timing(first) == without_timing(second)


@pytest.mark.slow
def test_two_halves_are_the_whole(tmp_path):
  """Each run in one half, or half done in the other."""
  sweep(tmp_path / "whole")
  half, rest = {}, {}
  for number, key in enumerate((name, seed) for name in ROWS for seed in range(2)):
    half[key] = ("done", 1.0) if number % 2 else None
    rest[key] = ("stopped", 0.5) if number % 2 else ("done", 1.0)
  sweep(tmp_path / "a", states=half)
  sweep(tmp_path / "b", states=rest)
  whole = without_timing(report(tmp_path / "whole", out=tmp_path / "out"))
  for order in ("ab", "ba"):
    merged = report(*(tmp_path / name for name in order), out=tmp_path / order)
    assert without_timing(merged) == whole


def test_different_sweeps_are_sections_of_one_page(tmp_path):
  sweep(tmp_path / "a", name="one")
  sweep(tmp_path / "b", {("shallow", "x"): {}, ("deep", "x"): {"model.depth": 32}}, name="two")
  files = report(tmp_path / "a", tmp_path / "b", out=tmp_path / "out")
  heads = re.findall(r"^##? (.*)", files["report.md"].decode(), re.MULTILINE)
  assert heads[:3] == ["The results of 2 sweeps", "The sweep one", "The sweep two"]
  assert "figures/two-depth.svg" in files  # the mapping x has two depths
  assert [line["sweep"] for line in lines(files, "rows.csv")] == ["one"] * 3 + ["two"] * 2


GROUPS = {
  (group, row): {"model.depth": depth, "model.shortcut": row}
  for group, depth in (("larch", 32), ("birch", 20))
  for row in ("identity", "conv")
}


def test_a_page_of_one_group_has_nothing_of_the_others(tmp_path):
  sweep(tmp_path / "w", GROUPS, {("conv", 1): None}, name="two")
  fake.save(tmp_path / "other", ROWS, name="other")
  files = report(tmp_path / "w", tmp_path / "other", out=tmp_path / "out", groups=["birch"])
  assert [name for name in files if name.endswith(".svg")] == [
    "figures/two-birch-error.svg",
    "figures/two-birch-training-loss.svg",
  ]
  for name in ("index.html", "report.md", "numbers.csv", "rows.csv", "timing.csv"):
    assert "larch" not in files[name].decode() and "birch" in files[name].decode()
  assert "3 of 4 runs done, 1 waiting." in files["report.md"].decode()
  assert [line["group"] for line in lines(files, "rows.csv")] == ["birch"] * 2


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    (
      GROUPS,
      "--group='brich' is unknown; did you mean 'birch' or 'larch'? choose from birch, larch",
    ),
    (ROWS, "--group='brich': the rows of this sweep have no groups"),
  ],
)
def test_a_group_that_is_not_there(tmp_path, rows, message):
  fake.save(tmp_path / "w", rows)
  with pytest.raises(UserError) as error:
    select(read([tmp_path / "w"]), ["brich"])
  assert str(error.value) == message


def test_rows_that_disagree_are_named(tmp_path):
  fake.save(tmp_path / "a", ROWS)
  fake.save(tmp_path / "b", ROWS | {"plain": {"model.shortcut": "dropout"}})
  with pytest.raises(UserError, match="their rows 'plain' differ: .*none and .*dropout"):
    read([tmp_path / "a", tmp_path / "b"])
  fake.save(tmp_path / "b", ROWS, base="configs/resnet.py:depth=56,digits")
  with pytest.raises(UserError, match="different configs: .*depth=20,digits and .*depth=56,digits"):
    read([tmp_path / "a", tmp_path / "b"])


def test_nothing_is_written_where_the_page_cannot_be_made(tmp_path):
  sweep(tmp_path / "w", states={("plain", 0): None})
  plan = fake.save(tmp_path / "w", ROWS)
  result = plan.runs(tmp_path / "w")[0].workdir / "result.json"
  broken = metrics.json.loads(result.read_text())
  broken["config"]["model"]["depth"] = "deep"
  result.write_text(metrics.json.dumps(broken))
  with pytest.raises(UserError, match="not a config"):
    report(tmp_path / "w", out=tmp_path / "out")
  assert not (tmp_path / "out").exists()


def command(*flags):
  return subprocess.run(
    [sys.executable, "-m", "resnet_jax.report", *map(str, flags)], capture_output=True, text=True
  )


def test_the_command_takes_folders_and_groups(tmp_path):
  for name in ("runs/a", "runs/b"):
    fake.save(tmp_path / name, GROUPS, name=name)
  done = command(f"{tmp_path}/run?", "--group=larch", "--group=birch", f"--out={tmp_path}/page")
  assert (done.returncode, done.stdout) == (0, f"the report is in {tmp_path}/page/index.html\n")
  heads = (tmp_path / "page" / "report.md").read_text()
  assert "The sweep runs/a" in heads and "The sweep runs/b" in heads


def test_the_command_prints_where_the_page_is(tmp_path):
  sweep(tmp_path / "w", seeds=1)
  done = command(f"--workdir={tmp_path / 'w'}")
  said = f"reading the runs in {tmp_path / 'w'} ...\n"
  said += "comparing the rows of 3 runs and drawing the figures ...\n"
  assert (done.returncode, done.stderr) == (0, said)
  assert done.stdout == f"the report is in {tmp_path / 'w' / 'report' / 'index.html'}\n"
  assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    ((), "name the folder of a sweep, as python -m resnet_jax.report runs/shortcuts"),
    (("--workdir=nowhere",), "--workdir=nowhere holds no sweep"),
    (("--work=x",), "Unknown command line flag 'work'"),
    (("--workdir=configs",), "--workdir=configs holds no sweep: there is no sweep.json in it or"),
    (("results", "nowhere"), "--workdir=nowhere holds no sweep: there is no such folder"),
  ],
)
def test_bad_input_is_one_line(flags, said):
  done = command(*flags)
  assert done.returncode == 1
  assert re.fullmatch(r"error: [^\n]*\n", done.stderr) and said in done.stderr


def test_it_needs_no_jax():
  program = (
    "import sys, resnet_jax.report.read, resnet_jax.report.write; sys.exit('jax' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", program]).returncode == 0
