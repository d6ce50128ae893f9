"""From a weights file to a run and back, with what became of each tensor printed."""

import pathlib
from typing import Any

from safetensors.numpy import save

from resnet_jax import api, convert
from resnet_jax.convert import about, network, runs
from resnet_jax.runs import whole, workdir


def bring(weights: pathlib.Path, path: pathlib.Path, config: Any, **options: Any) -> None:
  """Makes a run in `path` of a weights file; `options` are those of `convert.load_weights`.

  Raises:
    UserError: the file does not hold such a net, or the folder is not new.
  """
  runs.refuse_taken(path)
  config, variables, report = convert.load_weights(weights, config, **options)
  runs.write(path, weights, config, variables, report.fingerprint, report.classes)
  show(report)
  print("BN's running variances are unbiased there and are taken as they stand, as inference does")
  print(convert.said(weights, config, report))
  print(f"{path}: a run at step 0 on {config.data.name}")


def take(path: pathlib.Path, out: pathlib.Path, checkpoint: str) -> None:
  """Writes the weights of the run in `path` to the file `out`.

  Raises:
    UserError: others have no names for the run's layers, or there is no such checkpoint.
  """
  config = api.own_config(path)
  network.check(config)
  _, _, state, position = api.restore(path, checkpoint, config)
  tensors, report = convert.tensors_of(config, state.variables)
  classes = workdir.class_names(path, position)
  metadata = {"format": "pt"} | about.write(config, position["data"], classes)
  with whole.written(out) as file:
    file.write(save(tensors, metadata=metadata))
  show(report)
  print("BN's running variances are the biased ones, which PyTorch's inference takes as they stand")
  print(f"{out}: of step {position['step']}; its images are normalized by {config.data.normalize}")


def show(report: convert.Report) -> None:
  """Prints every tensor: theirs, ours, the shape of ours; then what was of no use."""
  width = max(len(name) for name in [theirs for theirs, _, _ in report.used] + report.unused)
  for theirs, ours, shape in report.used:
    print(f"{theirs:{width}}  {ours}  {' x '.join(map(str, shape))}")
  for name in report.unused:
    print(f"{name:{width}}  unused")
  print(f"{len(report.used)} tensors used, {len(report.unused)} unused, 0 missing")
