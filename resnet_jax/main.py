"""Trains, evaluates or describes the run that a config file names.

    python -m resnet_jax.main --config=configs/preact1001.py:digits --workdir=runs/digits
    python -m resnet_jax.main --config=configs/resnet.py:depth=20 --workdir=runs/four --seeds=4
    python -m resnet_jax.main --config=configs/resnet.py:depth=56 --mode=describe
    python -m resnet_jax.main --mode=eval --workdir=runs/digits --predictions=digits.npz

Any setting of the config is a flag: --config.optim.learning_rate=0.05. --help lists them all, and
with a --config also those of the parts that the file registers. A run that is stopped goes on when
the same command is given again, or only its --workdir. Exit codes: 0 done, 1 bad input or a run
that diverged, 75 preempted, run me again.
"""

import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from absl import app, flags
from ml_collections import config_flags

from resnet_jax import cli
from resnet_jax import config as config_lib
from resnet_jax.config import paths, show, values
from resnet_jax.errors import UserError
from resnet_jax.runs import workdir
from resnet_jax.training import compilation


class _ConfigFile(flags.ArgumentParser):
  """Reads the value of --config as `load_config` does: it may name a config of the package."""

  def parse(self, argument: str) -> Any:
    """The config, locked; None where `get_config` returns nothing.

    Raises:
      UserError: a flag names a setting that there is not, though the file is loaded.
    """
    config = config_lib.load_file(argument)
    _refuse_unknown(sys.argv)  # before the library looks for them
    return config.lock() if hasattr(config, "lock") else config

  def flag_type(self) -> str:
    """For --help."""
    return "config file"


_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file, such as configs/preact1001.py:digits.", lock_config=True
)
flags.FLAGS["config"].parser = _ConfigFile()  # not the library's own, which looks only here
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: metrics, checkpoints, plots, result."
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "describe"], "What to do.")
_JSON = flags.DEFINE_bool("json", False, "With --mode=describe: JSON for machines.")
_SETTINGS = flags.DEFINE_bool(
  "settings", False, "With --mode=describe: every setting with its value and what it is."
)
_PARAMETERS = flags.DEFINE_bool(
  "parameters", False, "With --mode=describe: every array of parameters, with its name and shape."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "With --mode=eval: last, best or a step.")
_PREDICTIONS = flags.DEFINE_string(
  "predictions", None, "With --mode=eval: an .npz file to save the prediction for every example in."
)
_TEST = flags.DEFINE_string(
  "test", "single", "With --mode=eval: views of a photograph: single, 320, 10-crop, multi-scale."
)
_PRECISE_BN = flags.DEFINE_integer(
  "precise_bn", 0, "With --mode=eval: training batches to compute BN's statistics from anew."
)
_ENSEMBLE = flags.DEFINE_list(
  "ensemble", [], "With --mode=eval: more workdirs, whose probabilities are averaged with it."
)
_SEEDS = flags.DEFINE_integer(
  "seeds",
  None,
  "Train so many seeds at once, each on its share of the devices, in WORKDIR/seed0, seed1 ...",
  lower_bound=1,
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "Of a run of several processes: HOST:PORT of the first, a free port there."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of the processes this is, from 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_DEVICES = flags.DEFINE_integer(
  "devices", None, "How many devices all processes together must have; other numbers are refused."
)
_PROFILE = flags.DEFINE_bool("profile", False, "Record a trace of a few steps in WORKDIR/profile.")
_HELP = {"--help", "-help", "-?", "--?"}  # as absl has them
_OF_SEVERAL = ("coordinator", "process_id", "num_processes", "devices")  # flags of such runs
# The flags that belong to some modes; under another they would do nothing, which is refused.
_MODES = {
  ("describe",): ("json", "settings", "parameters"),
  ("train",): ("profile", "seeds"),
  ("eval",): ("checkpoint", "predictions", "test", "precise_bn", "ensemble"),
  ("train", "eval"): _OF_SEVERAL,
}


class _Parser(flags.ArgumentParser):
  """Reads `--config.key=value`; unlike ml_collections' own it takes None."""

  def __init__(self, kind: type):
    self.kind = kind

  def parse(self, argument: Any) -> Any:
    return values.read(self.kind, argument) if isinstance(argument, str) else argument

  def flag_type(self) -> str:
    return self.kind.__name__


for _kind in (int, float, bool):
  config_flags.register_flag_parser_for_type(_kind, _Parser(_kind))


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; whatever is wrong with them ends the program with one line."""
  try:
    argv = paths.expand_flags(argv)
    if asked := _HELP & {*argv}:
      _help([argument for argument in argv if argument not in asked])
    try:
      rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError:  # of --config.key, if there is no --config
      _refuse_unknown(argv)
      raise
    if rest[1:]:
      raise UserError(f"{rest[1]!r} is not a flag; settings are written --config.key=value")
    for modes, names in _MODES.items():
      for name in names:
        if flags.FLAGS[name].present and _MODE.value not in modes:
          ours = " or ".join(modes)
          raise UserError(f"--{name} belongs to --mode={ours}, not to --mode={_MODE.value}")
    if _PARAMETERS.value and (_JSON.value or _SETTINGS.value):
      raise UserError("--parameters prints a table of its own; leave --json and --settings out")
    if _CONFIG.value is not None:
      config_lib.check(_CONFIG.value)
    return rest
  except (UserError, flags.Error) as error:
    cli.refuse(error)
  except Exception as error:  # whatever a config file may raise, and flags of the wrong type
    cli.refuse(f"{type(error).__name__}: {error}")


def _refuse_unknown(argv: Sequence[str]) -> None:
  """Raises a UserError for a flag of a setting that there is not."""
  known = config_lib.known()
  for argument in argv[1:]:
    name = argument.lstrip("-").partition("=")[0]
    key = name.removeprefix("config.")
    if argument.startswith("-") and name != key and key not in known:
      raise config_lib.unknown_key(key)


def _help(argv: list[str]) -> NoReturn:
  """Lists the flags and the settings, with those of what a --config among the flags registers."""
  flags.FLAGS(argv)
  app.usage(shorthelp=True, writeto_stdout=True)
  print(f"settings:\n{show.as_help()}\n\nTry --helpfull to get a list of all flags.")
  sys.exit(1)  # as absl ends it


def main(argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  del argv
  config = _config()
  if _MODE.value == "describe":
    _describe(config)
    return
  if not _WORKDIR.value:
    raise UserError("--workdir is missing: name the folder of the run, as --workdir=runs/mine")
  given = any(flags.FLAGS[name].present for name in _OF_SEVERAL)
  if not given and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
    cli.announce("importing JAX and reading the data")  # the only process, as far as can be told
  from resnet_jax.distributed import mesh

  compilation.set_up()
  mesh.start(_COORDINATOR.value, _PROCESS_ID.value, _NUM_PROCESSES.value, _DEVICES.value)
  if _MODE.value == "eval":
    _evaluate(config)
  else:
    _train(config)


def _config():
  if _CONFIG.value is not None:
    return _CONFIG.value
  if _MODE.value == "eval":
    return None  # the run's own
  if flags.FLAGS["config"].present:
    raise UserError("get_config of the --config file returned nothing; it must return a config")
  path = pathlib.Path(_WORKDIR.value or "")
  if _MODE.value == "train" and (path / "config.json").is_file():
    return workdir.read_config(path)  # without what a config file reads, such as old weights
  raise UserError("--config is missing: name a config file, as --config=configs/preact1001.py")


def _train(config) -> None:
  from resnet_jax.training import seeds, train

  if _SEEDS.value is None:
    train.train(config, str(_WORKDIR.value), profile=_PROFILE.value)
  elif _PROFILE.value:
    raise UserError("--profile records one run; leave --seeds out")
  else:
    seeds.train_all(config, str(_WORKDIR.value), _SEEDS.value)


def _evaluate(config) -> None:
  from resnet_jax import evaluate
  from resnet_jax.distributed import processes

  runs = [str(_WORKDIR.value), *_ENSEMBLE.value]
  test = evaluate.Test(_TEST.value, _PRECISE_BN.value)
  with processes.Lookout():
    evaluate.evaluate(config, runs, _CHECKPOINT.value, _PREDICTIONS.value, test)


def _describe(config) -> None:
  config_lib.refuse_unread(config)
  if _SETTINGS.value:
    print(json.dumps(show.to_json(config)) if _JSON.value else show.to_text(config))
    return
  if not _JSON.value:
    cli.announce("importing JAX and tracing the network")
  from resnet_jax import describe

  if _PARAMETERS.value:
    print(describe.parameters(config))
  else:
    print(json.dumps(describe.describe(config)) if _JSON.value else describe.to_text(config))


def run() -> None:
  """The `resnet_jax` command."""
  cli.run(main, parse)


if __name__ == "__main__":
  run()
