"""Whose folder it is."""

import json

import pytest

from resnet_jax import config as config_lib
from resnet_jax import workdir
from resnet_jax.errors import UserError


@pytest.fixture
def stored(tmp_path):
  """Writes the config of a run of the version before, which set what its net does not read."""

  def store(name, **changes):
    config = config_lib.default_config()
    config.update_from_flattened_dict({"model.stride_on": "3x3"} | changes)
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps(config_lib.to_json(config)))
    return tmp_path / name

  return store


def test_a_run_that_is_stored_goes_on_with_what_nothing_reads(stored):
  old, recipe = workdir.read_config(stored("run")), config_lib.default_config()
  for new in (old, recipe):
    workdir.refuse_changes(old, new)
    workdir.refuse_other_network(old, new)
  recipe.model.unit = "bottleneck"
  with pytest.raises(UserError, match="model.stride_on: '3x3' -> '1x1'"):
    workdir.refuse_changes(old, recipe)


def test_a_run_begins_where_there_is_none(stored, tmp_path):
  new = tmp_path / "new"
  assert workdir.begins(new)
  assert not workdir.begins(new, stored("begun"))  # of several seeds, one
  (new / "checkpoints").mkdir(parents=True)
  (new / "config.json").write_text(json.dumps(config_lib.to_json(config_lib.default_config())))
  assert not workdir.begins(new)


@pytest.mark.parametrize(
  ("sweep", "begins"), [({"strict": True}, True), ({"strict": False}, False), ({}, False)]
)
def test_the_runs_of_an_older_sweep_have_begun(tmp_path, monkeypatch, sweep, begins):
  (tmp_path / "sweep.json").write_text(json.dumps(sweep))
  assert workdir.begins(tmp_path / "row" / "seed1") == begins
  (tmp_path / "row").mkdir()
  monkeypatch.chdir(tmp_path / "row")
  assert workdir.begins(workdir.pathlib.Path("seed1")) == begins
