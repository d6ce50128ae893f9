"""Sweeps as a user sees them: the command, killed and started again, and its page."""

import os
import pathlib
import random
import re
import shutil
import signal
import tempfile
import time

import pytest

from resnet_jax.report.read import read
from resnet_jax.report.write import write
from resnet_jax.runs import metrics
from resnet_jax.sweep import plan as plan_lib
from tests.report import fake
from tests.warm import Command

ROWS = '[row("original"), row("conv", {"model.shortcut": "conv"})]'
SWEEP = '''"""Two rows."""
from resnet_jax.sweep import Sweep, row
def get_sweep(data="digits"):
  rows = ROWS
  return Sweep(f"configs/resnet.py:depth=8,{data}", rows, seeds=2)
'''.replace("ROWS", ROWS)
SETTINGS = {
  "train.steps": 80,
  "train.log_every": 4,
  "train.eval_every": 20,
  "train.checkpoint_every": 8,
}
SHORT = [f"--config.{key}={value}" for key, value in SETTINGS.items()]

LONGER = "--config.train.steps=600"  # does not end before a signal reaches it


@pytest.fixture
def sweep(tmp_path, repository):
  """Starts the small sweep in a folder."""
  (tmp_path / "mine.py").write_text(SWEEP)

  def start(folder, *flags, config=tmp_path / "mine.py", devices=1):
    return Command(
      "resnet_jax.sweep",
      *(f"--config={config}", f"--workdir={folder}", *SHORT, *flags),
      cwd=repository,
      env=os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
      out=tempfile.TemporaryFile(),
    )

  return start


def finish(process):
  output, _ = process.communicate(timeout=600)
  return process.returncode, output


def measured(folder):
  return sum(len(metrics.read_rows(path.parent)) for path in folder.glob("*/seed?/metrics.jsonl"))


def kill_runs(folder):
  """Kills every run of the sweep, as an unplugged machine would."""
  for status in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
      if f"--workdir={folder}/" in status.read_text():
        os.kill(int(status.parent.name), signal.SIGKILL)
    except OSError:
      continue


def page(folder):
  """The files of a report, without what may differ between equal sweeps."""
  files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
  del files["timing.csv"]
  assert {"index.html", "report.md", "numbers.csv", "rows.csv"} < files.keys()
  files["index.html"] = re.sub(rb'(?s)<section id="timing".*?</section>', b"", files["index.html"])
  files["report.md"] = re.sub(
    rb"(?s)<!-- timing -->.*?<!-- end of timing -->", b"", files["report.md"]
  )
  return files


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_page(tmp_path, sweep):
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  code, output = finish(sweep(whole))
  assert code == 0, output
  rows, draw = measured(whole), random.Random(3)
  for number, at in enumerate(sorted(draw.sample(range(1, rows - 10), 3))):
    process = sweep(cut)
    while process.poll() is None and measured(cut) < at:
      time.sleep(0.05)
    process.kill()
    if number % 2:  # and otherwise the runs go on without it, and are found so
      kill_runs(cut)
    finish(process)
  code, output = finish(sweep(cut))
  assert code == 0, output
  for run in ("original/seed0", "original/seed1", "conv/seed0", "conv/seed1"):
    facts = [
      [{k: v for k, v in row.items() if k != "timing"} for row in metrics.read_rows(folder / run)]
      for folder in (whole, cut)
    ]
    assert facts[0] == facts[1]
  assert page(whole / "report") == page(cut / "report")


@pytest.mark.slow
def test_stopped_it_saves_and_finished_runs_are_not_run_again(tmp_path, sweep):
  folder, longer = tmp_path / "w", ["--seeds=1", LONGER, "--config.train.checkpoint_every=600"]
  process = sweep(folder, "--jobs=1", *longer)
  first = folder / "original" / "seed0" / "result.json"
  while len(metrics.read_rows(folder / "conv" / "seed0")) < 3:
    assert process.poll() is None
    time.sleep(0.05)
  before = first.read_bytes()
  process.send_signal(signal.SIGINT)
  code, output = finish(process)
  assert code == 75
  assert "waiting for 1 runs to save" in output
  assert "stopped by SIGINT; the same command goes on" in output
  assert list((folder / "conv" / "seed0" / "checkpoints").iterdir())
  code, output = finish(sweep(folder, *longer))
  assert code == 0, output
  assert first.read_bytes() == before
  assert "original, seed 0: running" not in output
  assert "resuming at step" in (folder / "logs" / "conv-seed0.txt").read_text()
  assert (folder / "report" / "index.html").is_file()


@pytest.mark.slow
def test_a_row_that_diverges_is_a_result_and_one_that_fails_leaves_the_others(tmp_path, sweep):
  rows = 'row("huge", {"data.batch_size": 2_000_000}), '
  rows += 'row("wild", {"optim.warmup_learning_rate": 1e30})'
  (tmp_path / "odd.py").write_text(SWEEP.replace('row("conv", {"model.shortcut": "conv"})', rows))
  flags = ["--jobs=2", "--seeds=1", "--config.train.steps=24"]
  code, output = finish(sweep(tmp_path / "w", *flags, config=tmp_path / "odd.py"))
  assert code == 2, output
  assert "original, seed 0: done, test error" in output
  assert "wild, seed 0: diverged" in output
  assert "huge, seed 0: failed: config.data.batch_size=2000000 times 1437" in output
  assert "1 runs failed; the same command tries them again" in output
  table = (tmp_path / "w" / "report" / "report.md").read_text()
  assert "diverged" in table
  assert "times 1437 examples must be below" in table


@pytest.mark.slow
def test_shares_of_the_runs_merge_into_the_page_of_all(tmp_path, sweep):
  for folder, flags in {"a": ["--shard=1/2"], "b": ["--shard=2/2"], "all": []}.items():
    code, output = finish(sweep(tmp_path / folder, *flags, "--config.train.steps=24"))
    assert code == 0, output
  assert len(list((tmp_path / "a").rglob("result.json"))) == 2
  write(read([tmp_path / "a", tmp_path / "b"]), tmp_path / "merged")
  assert page(tmp_path / "merged") == page(tmp_path / "all" / "report")


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--config.trian.steps=3"], "config.trian.steps is unknown"),
    (["--config.train.steps"], "--config.train.steps has no value"),
    (["--config.train.steps=soon"], "config.train.steps='soon' is no duration"),
    (["--shard=3/2"], "--shard='3/2' is no share; write 1/2 and, elsewhere, 2/2"),
    (["--shard=5/5"], "--shard='5/5': 4 runs are fewer than the shares"),
    (["--group=g"], "--group='g': the rows of this sweep have no groups"),
    (["--jobs=0"], "flag --jobs=0"),
    (["--config=configs/sweeps/nowhere.py"], "there is no file 'configs/sweeps/nowhere.py'"),
    (["--config="], "--config is missing"),
    (["--workdir="], "--workdir is missing"),
    (["extra"], "'extra' is not a flag"),
  ],
)
def test_flags_that_cannot_work_are_refused_in_one_line(tmp_path, sweep, flags, message):
  code, output = finish(sweep(tmp_path / "w", *flags))
  assert code == 1
  told, error = output.splitlines() if output.startswith("reading") else (None, output.rstrip("\n"))
  assert told in (None, f"reading {tmp_path / 'mine.py'} and checking every row ...")
  assert error.startswith("error: ") and message in error
  assert "\n" not in error
  assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_a_sweep_of_one_group_ends_with_a_page_of_it(tmp_path, sweep, repository, monkeypatch):
  rows = 'group("birch", [row("a")]) + group("larch", [row("b", {"model.depth": 14})])'
  text = SWEEP.replace("import Sweep", "import Sweep, group").replace(ROWS, rows)
  (tmp_path / "groups.py").write_text(text)
  monkeypatch.chdir(repository)
  plan = plan_lib.read(str(tmp_path / "groups.py"), SETTINGS)
  for run in plan.runs(tmp_path / "w"):
    fake.train(tmp_path / "w", plan, run, 5.0)
  plan_lib.save(plan, tmp_path / "w")
  code, output = finish(sweep(tmp_path / "w", "--group=birch", config=tmp_path / "groups.py"))
  assert code == 0, output
  assert "running what is left of 2 runs, " in output  # and none is
  text = (tmp_path / "w" / "report" / "report.md").read_text()
  assert "birch" in text and "larch" not in text


@pytest.mark.slow
def test_a_dry_run_tells_sizes_and_times_and_leaves_nothing(tmp_path, sweep):
  code, output = finish(sweep(tmp_path / "w", "--dry_run", "--jobs=2"))
  assert code == 0, output
  original, conv = (line.split("│") for line in output.splitlines() if line.startswith("│"))
  assert [cell.strip() for cell in original[1:6]] == ["original", "8", "75,002", "747,136", "2"]
  assert int(conv[3].replace(",", "")) > 75002
  assert re.search(r"4 runs, 2 at a time: about \d+:\d\d", output)
  assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_all_seeds_of_a_row_in_one_process(tmp_path, sweep):
  folder = tmp_path / "w"
  process = sweep(folder, "--together", devices=2)
  while measured(folder) < 30 and process.poll() is None:
    time.sleep(0.1)
  process.send_signal(signal.SIGTERM)
  code, output = finish(process)
  assert code == 75, output
  assert finish(sweep(folder, "--together", devices=2))[0] == 0
  shutil.rmtree(folder / "original" / "seed1")
  code, output = finish(sweep(folder, "--together", devices=2))  # the one seed that is left
  assert code == 0, output
  assert {path.name for path in (folder / "logs").iterdir()} == {
    "original-seed0.txt",
    "conv-seed0.txt",
  }
  assert measured(folder) == 4 * (20 + 4)
  before = page(folder / "report")
  assert finish(sweep(folder))[0] == 0  # each on its own: nothing is left to run
  assert page(folder / "report") == before


@pytest.mark.slow
def test_seeds_that_cannot_share_the_devices_say_so(tmp_path, sweep):
  code, output = finish(sweep(tmp_path / "w", "--together"))
  assert code == 2
  failed = output.partition("4 runs failed")[2]
  assert failed.count("--seeds=2: 1 device cannot be shared equally by so many") == 4
