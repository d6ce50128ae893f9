"""The settings as --help and --mode=describe --settings show them."""

import json
import re
import subprocess
import sys

import pytest

from resnet_jax.config import default_config, load_file, show
from resnet_jax.config.settings import SETTINGS


def test_help_has_every_setting_with_its_default():
  text = show.as_help()
  assert re.findall(r"^  --config\.([\w.]+):", text, re.MULTILINE) == [*SETTINGS]
  assert max(map(len, text.splitlines())) <= show.WIDTH
  assert "--config.train.steps: Length of the run.\n    (default: '64000 steps')" in text
  assert "<identity|scaling|exclusive_gating|" in text
  assert "(default: 0.5; belongs to dropout)" in text


def test_a_config_with_its_help():
  config = default_config()
  config.model.depth = 20
  found = json.loads(json.dumps(show.to_json(config)))
  assert found.keys() == SETTINGS.keys()
  assert found["model.depth"]["value"] == 20 and found["model.depth"]["default"] == 110
  assert found["model.shortcut"]["read"] and not found["model.gate_bias"]["read"]
  text = show.to_text(config)
  assert "model.depth = 20  (default: 110)\n    Layers: convolutions" in text
  assert "model.gate_bias = -6.0  (not read)\n" in text


def test_settings_of_parts_are_shown(repository):
  config = load_file(f"{repository}/examples/arrays.py:mine.npz")
  assert "data.arrays.file = 'mine.npz'  (default: 'arrays.npz')" in show.to_text(config)
  assert "--config.data.arrays.file: Setting of data.name=arrays" in show.as_help()


@pytest.mark.parametrize(
  ("flags", "code", "said"),
  [
    (["--help"], 1, r"--workdir: .*--config\.data\.arrays\.file: Setting of data.name=arrays"),
    (["--mode=describe", "--settings", "--json"], 0, r'"data.arrays.file": {"value": "mine.npz", '),
    (["--settings"], 1, "error: --settings belongs to --mode=describe, not to --mode=train"),
    (["--config.data.arrays.fil=a"], 1, r"is unknown; did you mean config\.data\.arrays\.file\?"),
    (["--mode=describe", "--settings", "--config.data.arrays.file=b"], 0, r"file = 'b'"),
  ],
)
def test_the_command(repository, flags, code, said):
  spec = "--config=examples/arrays.py:mine.npz"
  command = [sys.executable, "-m", "resnet_jax.main", *flags, spec]
  if any(flag.startswith("--config.") for flag in flags):
    command.append(command.pop(-2))  # a setting stands behind its config
  done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
  assert done.returncode == code, done.stderr
  assert re.search(said, done.stdout + done.stderr, re.DOTALL)
