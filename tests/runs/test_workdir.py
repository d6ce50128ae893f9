"""Whose a folder is: a run's identity, the classes it began with, files that are not its own."""

import dataclasses
import json

import pytest

from resnet_jax import config as config_lib
from resnet_jax import data
from resnet_jax.config import parts, settings
from resnet_jax.config.setting import Setting
from resnet_jax.convert import runs
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, workdir
from resnet_jax.training import seeds


def changed(**settings):
  config = config_lib.default_config()
  config.update_from_flattened_dict({key.replace("__", "."): v for key, v in settings.items()})
  return config


@pytest.mark.parametrize(
  "settings",
  [{"seed": 1}, {"model__depth": 20}, {"optim__weight_decay": 0.0}, {"train__log_every": 7}],
)
def test_what_a_resume_may_not_change_changes_the_identity(settings):
  assert workdir.identity(changed(**settings)) != workdir.identity(changed())


def test_the_identity_of_a_config_stays(monkeypatch):
  """Checkpoints hold it: another would make every one of them foreign."""
  config = changed(seed=3, model__depth=20, data__name="digits", train__log_every=7)
  found = workdir.identity(config)
  assert workdir.identity(changed()) == "44136fa355b3678a"  # nothing differs from the defaults
  assert found == "2a563636e12f7407"
  monkeypatch.setitem(settings.SETTINGS, "optim.added_later", Setting(5, "Later."))
  later = config_lib.from_json(config_lib.to_json(config))
  assert later.optim.added_later == 5
  assert workdir.identity(later) == found


IDENTITIES = {  # found by the version before the table of settings
  "687cbb78e57485e1": {
    "model.shortcut": "exclusive_gating",
    "model.gate_bias": -3.0,
    "model.norm.group_size": 64,
    "data.pad": 2,
    "optim.nesterov": True,
    "optim.schedule": "cosine",
    "optim.weight_decay": 0.002,
  },
  "72934bdafcd7cc60": {
    "model.shortcut": "mine",
    "model.gate_bias": 1.0,
    "model.stride_on": "3x3",
    "model.shortcut_scale": 2,
    "optim.momentum": 0.0,
    "optim.nesterov": True,
    "train.log_every": "2 epochs",
    "data.normalize": "imagenet",
    "finetune.frozen": "stem",
  },
}


@pytest.mark.parametrize("found", IDENTITIES)
def test_identities_are_those_of_runs_that_began_before(found):
  config = config_lib.default_config()
  config.update_from_flattened_dict(IDENTITIES[found])
  assert workdir.identity(config) == found


def test_the_identity_of_a_large_batch_config_stays(repository):
  spec = f"{repository}/configs/imagenet/resnet18.py:large_batch,folder"
  assert workdir.identity(config_lib.load_file(spec)) == "48370fca7df3e953"


def test_what_a_resume_may_change_does_not_change_the_identity():
  free = {key.replace(".", "__"): value for key, value in config_lib.leaves(changed()).items()}
  for key in parts.free():
    name = key.replace(".", "__")
    other = "other" if isinstance(free[name], str) else 7
    assert workdir.identity(changed(**{name: other})) == workdir.identity(changed()), key


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ({"train__log_every": 7}, {"train__log_every": "7"}),
    ({"model__shortcut_scale": 2}, {"model__shortcut_scale": 2.0}),
    ({"model__shortcut_scale": 1}, {}),
  ],
)
def test_values_that_a_resume_takes_for_the_same_have_the_same_identity(one, other):
  assert not config_lib.differences(changed(**one), changed(**other))
  assert workdir.identity(changed(**one)) == workdir.identity(changed(**other))


def test_why_a_checkpoint_is_another_runs():
  own = changed()
  position = {"identity": workdir.identity(own), "seed": 0}
  assert workdir.other_run(own, position) is None
  assert workdir.other_run(own, {"step": 4}) is None  # an older version's
  assert workdir.other_run(changed(seed=1), position) == "seed 0, here 1"
  assert workdir.other_run(changed(model__depth=20), position) == "its settings differ"


def test_an_older_checkpoint_is_told_once(monkeypatch):
  monkeypatch.setattr(workdir, "_said", set())
  said = []
  workdir.say_if_older({"identity": "a", "step": 2}, said.append)
  assert said == []
  for step in (4, 8):
    workdir.say_if_older({"step": step}, said.append)
  (line,) = said
  assert line.startswith("checkpoint 4 does not say which run it is of (an older version saved it)")


@pytest.mark.parametrize(
  ("now", "message"),
  [
    ("ant bee cat", ""),
    ("ant bee cat dog", "the class 'dog' is new"),
    ("ant cat", "the class 'bee' is missing"),
    ("ant cow cat", "the class 'cow' is new, the class 'bee' is missing"),
    ("ant bee cat dog emu", "the classes 'dog', 'emu' are new"),
    (
      "d e f g",
      "the classes 'd', 'e', 'f' and 1 more are new, the classes 'ant', 'bee', 'cat' are",
    ),
    ("bee ant cat", "the classes are in another order"),
  ],
)
def test_what_has_become_of_the_classes(now, message):
  found = workdir.class_changes(["ant", "bee", "cat"], now.split())
  assert found.startswith(message) and bool(found) == bool(message)


def test_data_that_are_not_the_runs_are_named_by_their_classes():
  config = changed(data__name="folder", data__dir="photos")
  info = data.describe(config.data, (8, 8, 3), ("ant", "bee"))
  dataset = data.Dataset(info, None, None, "1111-2222")
  workdir.refuse_other_data(config, dataset, "1111-2222", ["other"])
  new = dataclasses.replace(dataset, info=dataclasses.replace(info, classes=("ant", "bee", "cow")))
  with pytest.raises(
    UserError, match="the class 'cow' is new in the folder here; restore config.da"
  ):
    workdir.refuse_other_data(config, new, "0000-2222", ["ant", "bee"])
  for classes in (["ant", "bee"], None):  # more images; or an older run without its result.json
    with pytest.raises(UserError, match=r"fingerprint 1111-2222\) is not the one that the run"):
      workdir.refuse_other_data(config, dataset, "0000-2222", classes)


def test_files_that_a_start_finds_may_stay_and_folders_may_not(tmp_path):
  for name in ("log.txt", "slurm-123.out", ".lock", ".config.json.partial"):
    (tmp_path / name).touch()
  (tmp_path / "dangling").symlink_to("nowhere")
  assert workdir.read_config(tmp_path) is None
  runs.refuse_taken(tmp_path)
  (tmp_path / "photos").mkdir()
  with pytest.raises(UserError, match=r"not empty and holds no run \(no config.json, but 'photos'"):
    workdir.read_config(tmp_path)


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json", "predictions.npz"])
def test_what_is_left_of_a_run_is_not_begun_upon(tmp_path, name):
  (tmp_path / name).touch()
  with pytest.raises(UserError, match=f"holds no run .no config.json, but '{name}'"):
    workdir.read_config(tmp_path, changed())


def test_a_lost_config_is_asked_for_and_taken(tmp_path):
  (tmp_path / "checkpoints" / "400").mkdir(parents=True)
  for ask in (workdir.read_config, runs.refuse_taken):
    with pytest.raises(UserError, match="its config.json is lost; train it or .*--config"):
      ask(tmp_path)
  assert workdir.read_config(tmp_path, changed()) == changed()
  with pytest.raises(UserError, match="holds a run; --seeds takes a folder for several"):
    seeds.train_all(changed(), tmp_path, 2)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(UserError, match="is damaged .*; move it away and give the --config that"):
    workdir.read_config(tmp_path, changed())


def test_what_result_json_says_of_the_data(tmp_path):
  assert workdir.recorded(tmp_path) == {}
  known = {"shape": [8, 8, 1], "classes": ["a"], "fingerprint": "1"}
  metrics.write_json(tmp_path / "result.json", {"data": known})
  assert workdir.recorded(tmp_path) == {"shape": (8, 8, 1), "classes": ("a",), "fingerprint": "1"}
  assert workdir.class_names(tmp_path, {"data": "1"}) == ("a",)
  assert workdir.class_names(tmp_path, {"data": "2"}) is None
  assert workdir.class_names(tmp_path, {"data": "2", "classes": ["b"]}) == ("b",)


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
