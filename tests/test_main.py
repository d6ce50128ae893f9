"""The command's modes, and what it says of files and flags that cannot work."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from resnet_jax.config import default_config, load_file, to_json
from resnet_jax.runs import metrics
from resnet_jax.training import train
from tests import hurry
from tests.warm import Command

NET = "--config=configs/resnet.py:depth=8,digits"


def start(*flags, env=os.environ, **more):
  both = tempfile.TemporaryFile()  # noqa: SIM115
  return Command("resnet_jax.main", *flags, env=env | {"XLA_FLAGS": hurry.FLAGS}, out=both, **more)


def run(*flags, **more):
  process = start(*flags, **more)
  output, _ = process.communicate(timeout=300)
  return process.returncode, output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """The folder of a short run with a trace."""
  folder = tmp_path_factory.mktemp("main") / "run"
  root = os.path.dirname(os.path.dirname(__file__))
  flags = [f"--config.train.{key}=4" for key in ("eval_every", "log_every", "checkpoint_every")]
  code, output = run(
    NET, f"--workdir={folder}", "--config.train.steps=8", "--profile", *flags, cwd=root
  )
  assert code == 0, output
  return folder


@pytest.mark.slow
def test_a_trace_is_recorded(trained):
  assert list((trained / "profile").rglob("*.pb"))


def test_evaluation_gives_the_runs_error_and_every_prediction(trained, tmp_path, repository):
  result = json.loads((trained / "result.json").read_text())
  for checkpoint, key in (("last", "test_error"), ("best", "best_test_error")):
    saved = tmp_path / f"{checkpoint}.npz"
    code, output = run(
      "--mode=eval",
      f"--workdir={trained}",
      f"--checkpoint={checkpoint}",
      f"--predictions={saved}",
      cwd=repository,
    )
    assert code == 0, output
    assert f"test error {result[key]:.2f} %" in output
    predictions = np.load(saved)
    wrong = predictions["predictions"] != predictions["labels"]
    assert len(wrong) == 360
    assert 100 * wrong.mean() == pytest.approx(result[key])


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([NET, "--config.model.depth=14"], "model.depth: 8 -> 14"),
    (["--checkpoint=5"], "no whole checkpoint '5'; there are: 8, 4"),
    (["--checkpoint=newest"], "write last, best or a step"),
    (["--checkpoint=²"], "write last, best or a step"),
    ([NET, "--config.data.train_split=train[:100]"], "data.train_split: 'train' -> 'train[:100]'"),
    (["--predictions=/nowhere/x.npz"], "--predictions=/nowhere/x.npz cannot be written"),
  ],
)
def test_what_cannot_be_evaluated(trained, repository, flags, message):
  code, output = run("--mode=eval", f"--workdir={trained}", *flags, cwd=repository)
  assert code == 1
  assert message in output
  assert "Traceback" not in output


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--mode=describe", "--predictions=x.npz"], "--predictions belongs to --mode=eval"),
    (["--json"], "--json belongs to --mode=describe"),
    (["--mode=eval", "--profile"], "--profile belongs to --mode=train"),
    (["--mode=describe", "--devices=8"], "--devices belongs to --mode=train or eval"),
  ],
)
def test_flags_of_another_mode(repository, tmp_path, flags, message):
  code, output = run(NET, f"--workdir={tmp_path}/run", *flags, cwd=repository)
  assert (code, output) == (1, f"error: {message}, not to --mode={mode(flags)}\n")


def mode(flags):
  return next((flag.removeprefix("--mode=") for flag in flags if "--mode" in flag), "train")


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ("resnet.py:norm.group_size=4", "'norm.group_size=4' cannot stand behind the colon"),
    ("resnet.py:depth=8,depth=20", "depth is given twice"),
    ("resnet.py:digits,cifar10", "data is given twice"),
    ("resnet.py:depth,digits", "'depth' has no value"),
    ("resnet.py:depth=deep", "config.model.depth='deep' is not of type int"),
    ("preact1001.py:depth=20,digits", "'depth=20,digits' is no data set's name"),
    ("preact1001.py:digit", "did you mean 'digits'"),
    ("preact1001.py:cifar-10", "did you mean 'cifar10'"),
    ("resnet.py:seed=3,digits", "did you mean config.seed?"),
    (
      "resnet.py:shortcut=mine,digits",
      "registered by the --config file or cell with its @shortcut",
    ),
    ("resnet.py:shortcut=scaling,digits", "is the identity; set one of them"),
    ("resnet.py,depth=20", "arguments follow a colon"),
    ("sweeps/depth.py:digits", "is a sweep file; run it by python -m resnet_jax.sweep --config="),
  ],
)
def test_arguments_of_config_files(repository, tmp_path, config, message):
  code, output = run(f"--config=configs/{config}", f"--workdir={tmp_path}/run", cwd=repository)
  assert code == 1
  assert message in output
  assert "Traceback" not in output


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--lr=0.1"], "error: Unknown command line flag 'lr'"),
    (["--config.optim.lr=0.1"], "did you mean config.optim.learning_rate?"),
    (["--mode=describe", "--config.train.steps=8k"], "is no duration"),
    (
      ["--config.optim.name=adamw"],
      "optim.name='adamw' is unknown; choose from sgd; one of your own",
    ),
    (["--config.data.batch_size=16.5"], "batch_size=16.5: must be a whole number"),
    (["--mode=describe", "--config.optim.drop_at=9"], "does nothing with config.optim.schedule="),
  ],
)
def test_flags_that_are_not_there(repository, tmp_path, flags, message):
  code, output = run(NET, f"--workdir={tmp_path}/run", *flags, cwd=repository)
  assert code == 1
  assert message in output


def test_a_run_goes_on_by_its_folder_alone(tmp_path, repository):
  """A config file may need what is gone, as the weights that configs/finetune.py begins with."""
  config = default_config()
  config.model.depth = 8
  metrics.write_json(tmp_path / "config.json", to_json(config))
  code = "import sys; from resnet_jax import main as m; m.parse(sys.argv); print(m._config())"
  done = subprocess.run(
    [sys.executable, "-c", code, f"--workdir={tmp_path}"],
    capture_output=True,
    text=True,
    cwd=repository,
  )
  assert done.returncode == 0 and "depth: 8\n" in done.stdout, done.stderr


def test_describe_needs_neither_64_bits_nor_an_equals_sign(repository, tmp_path):
  spec = f"{repository}/configs/resnet.py:family=imagenet,unit=bottleneck,depth=200"
  environment = os.environ | {"PYTHONPATH": str(repository)}
  flags = ("--config", spec, "--mode=describe", "--json", "--config.model.dtype=float64")
  process = start(*flags, cwd=tmp_path, env=environment)
  output, _ = process.communicate(timeout=300)
  found = json.loads(output)
  assert found["input"] == [224, 224, 3]
  assert found["depth"] == 200


def test_describe(repository):
  code, output = run(NET, "--mode=describe", "--json", cwd=repository)
  assert code == 0
  found = json.loads(output)
  assert found["params"] == sum(layer["params"] for layer in found["layers"]) + 490
  assert found["multiply_adds"] == sum(layer["multiply_adds"] for layer in found["layers"])
  code, output = run(NET, "--mode=describe", cwd=repository)
  assert code == 0
  assert f"{found['params']:,}" in output
  code, output = run(NET, "--mode=describe", "--parameters", cwd=repository)
  assert code == 0
  assert re.search(r"stage1/first/conv1/kernel +\| \(3, 3, 16, 16\)", output)
  assert f"Total: {found['params']:,}" in output


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("def get_config(:", "SyntaxError"),
    ("import nothing_of_that_name", "nothing_of_that_name"),
    ("def get_config(): pass", "returned nothing"),
    ("x = 1", "get_config"),
  ],
)
def test_a_config_file_that_cannot_work(tmp_path, repository, text, message):
  (tmp_path / "bad.py").write_text(text)
  code, output = run(f"--config={tmp_path}/bad.py", f"--workdir={tmp_path}/run", cwd=repository)
  assert code == 1
  assert message in output
  assert "Traceback" not in output
  assert not (tmp_path / "run").exists()


def test_configs_are_found_from_elsewhere(tmp_path, repository):
  environment = {"PYTHONPATH": str(repository)}
  code = "import resnet_jax; print(resnet_jax.load_config(%r).model.depth)"
  spec = f"{repository}/configs/resnet.py:depth=20,digits"
  found = subprocess.run(
    [sys.executable, "-P", "-c", code % spec],
    cwd=tmp_path,
    env=os.environ | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert found.stdout.strip() == "20"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_asks_to_be_run_again(tmp_path, repository, number):
  workdir = tmp_path / "run"
  process = start(NET, f"--workdir={workdir}", cwd=repository)
  while not (workdir / ".lock").exists() and process.poll() is None:
    time.sleep(0.01)
  process.send_signal(number)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 75, output
  assert "run it again" in output
  assert train.train(short(), workdir)["status"] == "done"


def short():
  config = load_file("configs/resnet.py:depth=8,digits")
  config.train.steps = 4
  return config
