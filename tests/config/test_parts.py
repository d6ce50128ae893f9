"""Registered parts in the config: their settings, and the users' files that they come from."""

import json
import pathlib

import numpy as np
import pytest

import resnet_jax
from resnet_jax import config as config_lib
from resnet_jax import data, registry
from resnet_jax.config import default_config, parts
from resnet_jax.data import augment
from resnet_jax.errors import UserError
from resnet_jax.report import read as report
from resnet_jax.runs import metrics, workdir
from resnet_jax.sweep import plan as plan_lib
from resnet_jax.training import optim
from tests.report import fake
from tests.warm import Command

FILE = '''"""Mine."""
import jax.numpy as jnp
import resnet_jax
from configs import resnet


@resnet_jax.schedule("halving", factor=0.5, times=2)
def halving(config, total, *_):
  """Halves the rate, times over the run."""
  own = config.halving
  return lambda step: config.learning_rate * own.factor ** jnp.floor(own.times * step / total)


@resnet_jax.dataset("bright", threshold=128)
def bright(config):
  raise NotImplementedError


def get_config(argument="depth=8,digits"):
  config = resnet.get_config(argument)
  config.optim.schedule = "halving"
  return config
'''


@pytest.fixture
def mine(tmp_path, monkeypatch, repository):
  """A user's file that registers a schedule."""
  monkeypatch.chdir(repository)
  path = tmp_path / "mine.py"
  path.write_text(FILE)
  return path


def forget():
  """As in a new process, in which nobody has loaded a user's file."""
  for place in registry.REGISTRIES:
    for name in [name for name, part in place.parts.items() if part.file]:
      del place.parts[name]


def with_values(path, values):
  config = config_lib.load_file(str(path))
  config.update_from_flattened_dict(values)
  return config


def test_settings_of_parts_are_in_the_tree(mine):
  config = config_lib.load_file(str(mine))
  assert config.optim.halving.to_dict() == {"factor": 0.5, "times": 2}
  assert config.data.bright.threshold == 128
  config_lib.check(config)
  assert config_lib.choices("optim.schedule") == ("step", "cosine", "constant", "halving")
  assert config_lib.read_value("optim.halving.factor", "0.1") == 0.1
  forget()
  assert "halving" not in default_config().optim


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"optim.halving.times": 1.5}, "config.optim.halving.times=1.5 is of type float, not int"),
    ({"optim.halving.factor": float("inf")}, "factor=inf is not a finite number"),
  ],
)
def test_values_of_parts_are_checked(mine, values, message):
  config = config_lib.load_file(str(mine)).unlock()
  group = config.optim.halving
  config.optim["halving"] = {**group.to_dict(), **{k.split(".")[-1]: v for k, v in values.items()}}
  with pytest.raises(UserError, match=message):
    config_lib.check(config)


def test_an_unknown_name_in_a_parts_group(mine):
  config_lib.load_file(str(mine))
  message = "config.optim.halving.factr is unknown; did you mean config.optim.halving.factor?"
  assert message in str(config_lib.unknown_key("optim.halving.factr"))


def test_what_is_set_of_a_part_that_is_not_chosen_is_refused(mine):
  config = with_values(mine, {"data.bright.threshold": 7})
  message = (
    "config.data.bright.threshold=7 does nothing with config.data.name='digits'; it belongs to "
    "data.name=bright; leave it at 128"
  )
  with pytest.raises(UserError, match=message):
    config_lib.refuse_unread(config)
  assert config_lib.unread(config) >= {"data.bright.threshold"}
  config_lib.refuse_unread(with_values(mine, {"optim.halving.times": 3}))
  assert "bright" not in config_lib.to_json(config)["data"]


def test_a_config_that_was_made_before_a_part_was_registered(mine):
  config = default_config()
  config_lib.load_file(str(mine))
  config_lib.check(config)
  config_lib.refuse_unread(config)
  assert config_lib.differences(config, default_config()) == {}
  config.optim.schedule = "halving"
  with pytest.raises(UserError, match="config.optim.halving.factor is missing; its default is 0.5"):
    config_lib.check(config)


@pytest.mark.parametrize(
  ("kind", "name", "setting", "collides"),
  [
    ("shortcut", "norm", "decay", "config.model.norm.decay"),
    ("shortcut", "depth", "least", "config.model.depth.least"),
    ("optimizer", "halving", "factor", "config.optim.halving.factor"),
  ],
)
def test_parts_whose_settings_would_collide(mine, kind, name, setting, collides):
  config_lib.load_file(str(mine))
  getattr(resnet_jax, kind)(name, **{setting: 1})(forget)
  with pytest.raises(UserError, match=f"'{name}': {collides} would collide with other settings"):
    default_config()


def test_a_shortcut_of_ones_own_with_a_setting():
  resnet_jax.shortcut("damped", factor=0.5)(forget)
  config = default_config()
  config.model.damped.factor = 0.3
  with pytest.raises(UserError, match="config.model.shortcut='identity'; it belongs to model.shor"):
    config_lib.refuse_unread(config)
  config.model.shortcut = "damped"
  config_lib.refuse_unread(config)
  one, other = workdir.identity(config), config.copy_and_resolve_references()
  other.model.damped.factor = 0.4
  assert workdir.identity(other) != one
  with pytest.raises(UserError, match="model.damped.factor: 0.3 -> 0.4"):
    workdir.refuse_changes(config, other)


def test_a_layer_that_a_value_uses():
  """Its name is no value of the setting: it stands within one, in the row of an after_add."""
  resnet_jax.norm("GN", groups=8)(forget)
  resnet_jax.after_add("grouped")("conv [GN ReLU conv] GN | ReLU")
  config = default_config()
  assert config_lib.choices("model.after_add")[-2:] == ("full_preact", "grouped")
  config.model.GN.groups = 4
  with pytest.raises(UserError, match="after_add='original'; it belongs to norm GN; leave it at 8"):
    config_lib.refuse_unread(config)
  config.model.after_add = "grouped"
  config_lib.refuse_unread(config)
  tree = config_lib.to_json(config)
  assert tree["model"]["GN"] == {"groups": 4}
  (entry,) = tree["files"]  # this file of tests
  assert sorted(entry["registers"]) == ["model.after_add=grouped", "norm GN"]
  assert config_lib.from_json(tree) == config


def test_what_a_schedule_reads_may_change_on_a_resume(mine):
  one, other = (with_values(mine, {"optim.halving.times": times}) for times in (2, 3))
  assert workdir.identity(one) == workdir.identity(other)
  workdir.refuse_changes(one, other)


def test_it_is_swept(mine, tmp_path):
  rows = '[row("three", {"optim.halving.times": 3})]'
  text = "from resnet_jax.sweep import Sweep, row\n"
  text += f"def get_sweep():\n  return Sweep({str(mine)!r}, {rows}, seeds=1)\n"
  (tmp_path / "sweep.py").write_text(text)
  spec = str(tmp_path / "sweep.py")

  def base():
    return plan_lib.read(spec, {}).base

  shared = plan_lib.settings(["sweep", "--config.optim.halving.factor=0.25"], base)
  assert shared == {"optim.halving.factor": 0.25}
  plan = plan_lib.read(spec, shared)
  ((run, config),) = plan_lib.check(plan, tmp_path / "new").items()
  assert config.optim.halving.to_dict() == {"factor": 0.25, "times": 3}
  assert {"--config.optim.halving.factor=0.25", "--config.optim.halving.times=3"} <= {*run.command}
  with pytest.raises(UserError, match="did you mean config.optim.halving.times"):
    plan_lib.settings(["sweep", "--config.optim.halving.time=3"], base)


def test_config_json_names_the_file(mine):
  config = with_values(mine, {"optim.halving.times": 3})
  tree = json.loads(json.dumps(config_lib.to_json(config)))
  (entry,) = tree["files"]
  assert entry["path"] == str(mine) and len(entry["sha256"]) == 64
  assert entry["registers"] == ["optim.schedule=halving"]
  assert config_lib.from_json(tree) == config
  config.optim.schedule = "step"
  assert "files" not in config_lib.to_json(config)
  assert "files" not in config_lib.to_json(default_config())


def test_the_file_is_loaded_if_it_is_as_it_was(mine):
  tree = config_lib.to_json(with_values(mine, {"optim.halving.times": 3}))
  forget()
  config = config_lib.from_json(tree)
  assert config.optim.halving.times == 3
  rate = optim.schedule(config.optim, 200, 16, 1437)
  assert float(rate(150)) == pytest.approx(0.1 * 0.5**2)


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_the_file_is_needed_as_it_was(mine, change):
  tree = config_lib.to_json(config_lib.load_file(str(mine)))
  digest = tree["files"][0]["sha256"][:12]
  forget()
  if change == "gone":
    mine.unlink()
    why = "it cannot be read: No such file or directory; restore it, or give a --config"
  else:
    mine.write_text(FILE + "\n")
    why = r"now it is \w{12}; restore it, or give a --config that registers the same"
  message = rf"optim.schedule=halving needs {mine} as it was \(SHA-256 {digest}\); {why}"
  with pytest.raises(UserError, match=message):
    config_lib.from_json(tree)
  assert config_lib.stored(tree).optim.halving.factor == 0.5  # to be looked at
  assert not parts.of_users(config_lib.stored(tree))


def test_a_file_that_fails(mine):
  tree = config_lib.to_json(config_lib.load_file(str(mine)))
  forget()
  mine.write_text("import nowhere\n")
  with pytest.raises(UserError, match="mine.py: ModuleNotFoundError: No module named 'nowhere'"):
    config_lib.files.execute(mine)
  tree["files"] = [{"path": str(mine)}]
  with pytest.raises(UserError, match="not a config of this version"):
    config_lib.from_json(tree)


def test_settings_of_a_part_that_nothing_registers(mine):
  tree = config_lib.to_json(config_lib.load_file(str(mine)))
  forget()
  del tree["files"]  # as of a notebook's cell
  with pytest.raises(
    UserError, match=r"config.optim.halving.\w+ belongs to a part that is not reg"
  ):
    config_lib.from_json(tree)


def test_a_changed_file_is_told_once(mine, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(workdir, "_said", set())
  folder = tmp_path / "run"
  metrics.write_json(folder / "config.json", config_lib.to_json(config_lib.load_file(str(mine))))
  assert workdir.read_config(folder).optim.schedule == "halving"
  assert capsys.readouterr().out == ""
  mine.write_text(FILE + "\n")
  config_lib.load_file(str(mine))
  for _ in range(2):
    workdir.read_config(folder)
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith(f"warning: optim.schedule=halving comes from {mine} (SHA-256 ")
  assert f"; the run began with {mine} (SHA-256 " in line


def test_a_report_needs_no_file(mine, tmp_path):
  plan = fake.save(tmp_path / "w", {"a": {"optim.halving.times": 3}}, base=str(mine), seeds=2)
  first, second = plan.runs(tmp_path / "w")
  fake.train(tmp_path / "w", plan, first, 5.0)
  fake.train(tmp_path / "w", plan, second, 5.0, "stopped", 0.5)
  forget()
  mine.unlink()
  (found,) = report.read([tmp_path / "w"])
  (row,) = found.rows
  assert [run.status.state for run in row.runs] == ["done", "stopped"]
  assert row.config.optim.halving.times == 3


def test_names_that_are_taken(mine):
  with pytest.raises(UserError, match="data set 'folder' is registered already; choose another"):
    resnet_jax.dataset("folder")(forget)
  with pytest.raises(UserError, match="optim.schedule='halved' is unknown; .*with its @schedule"):
    optim.SCHEDULES.find("halved")
  with pytest.raises(UserError, match="with its @dataset"):
    resnet_jax.dataset.find("mine")
  config_lib.load_file(str(mine))
  config_lib.load_file(str(mine))  # again
  other = mine.with_name("other.py")
  other.write_text(FILE)
  with pytest.raises(UserError, match="schedule 'halving' is registered already"):
    config_lib.load_file(str(other))


def arrays(folder: pathlib.Path, **more):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
  np.savez(folder / "mine.npz", **{"images": images, "labels": np.arange(50) % 3} | more)
  return images


def test_a_data_set_of_two_arrays(tmp_path, repository):
  config = config_lib.load_file(f"{repository}/examples/arrays.py:{tmp_path}/mine.npz")
  images = arrays(tmp_path)
  assert data.info(config.data) == data.Info("arrays", (8, 8, 1), ("0", "1", "2"), 0, True)
  dataset = data.load(config.data)
  assert (dataset.train_examples, dataset.test_examples) == (40, 10)
  np.testing.assert_array_equal(dataset.test.images, images[40:])
  assert dataset.test.targets.dtype == np.int32


@pytest.mark.parametrize(
  ("more", "message"),
  [
    ({"images": np.zeros((50, 8, 8, 1))}, "'arrays', all: images are float64 .50, 8, 8, 1.; give"),
    ({"images": np.zeros((50, 8, 8), np.uint8)}, "give uint8 .N, H, W, C."),
    ({"labels": np.arange(49)}, "49 targets of 50 images; give one of each"),
    ({"labels": np.arange(50) / 2}, "labels are float64; give whole numbers"),
  ],
)
def test_arrays_that_are_no_data_set(tmp_path, repository, more, message):
  config = config_lib.load_file(f"{repository}/examples/arrays.py:{tmp_path}/mine.npz")
  arrays(tmp_path, **more)
  with pytest.raises(UserError, match=message):
    data.load(config.data)


def test_an_augmentation(repository):
  images = np.ones((4, 8, 8, 1), np.float32)
  config = default_config().data
  config.pad, config.flip = 0, False
  assert (augment.AUGMENTATIONS[config.augmentation](None_key(), images, config) == images).all()


def None_key():
  import jax

  return jax.random.key(0)


def test_the_decay_of_adamw_leaves_bn_alone(repository):
  config = config_lib.load_file(f"{repository}/examples/adamw.py:depth=8,digits")
  params = {"rest": {"bn1": {"scale": np.ones((3, 4), np.float32)}}}
  params["rest"]["conv1"] = {"kernel": np.ones((3, 3, 3, 4, 4), np.float32)}
  optimizer = optim.build(config.optim, lambda _: 0.1, frozen=("stem",))
  zero = {"rest": {"bn1": {"scale": np.zeros((3, 4), np.float32)}}}
  zero["rest"]["conv1"] = {"kernel": np.zeros((3, 3, 3, 4, 4), np.float32)}
  updates, _ = optimizer.update(zero, optimizer.init(params), params)
  assert not updates["rest"]["bn1"]["scale"].any()
  np.testing.assert_allclose(updates["rest"]["conv1"]["kernel"], -0.1 * 0.05, rtol=1e-5)


@pytest.mark.slow
def test_a_users_file_from_end_to_end(tmp_path, repository):
  """Trained, resumed by the folder only, and evaluated; refused once the file has changed."""
  path, folder = tmp_path / "adamw.py", tmp_path / "run"
  path.write_text((repository / "examples" / "adamw.py").read_text())

  def command(*flags):
    process = Command("resnet_jax.main", f"--workdir={folder}", *flags, cwd=repository)
    said = "".join(process.communicate(timeout=300))
    return process.returncode, said

  spec = f"--config={path}:depth=8,digits"
  every = [f"--config.train.{key}=2" for key in ("steps", "log_every", "eval_every")]
  code, said = command(spec, "--config.optim.adamw.b2=0.99", *every)
  assert code == 0, said
  stored = json.loads((folder / "config.json").read_text())
  assert stored["optim"]["adamw"] == {"b1": 0.9, "b2": 0.99}
  assert stored["files"][0]["registers"] == ["optim.name=adamw"]
  code, said = command("--mode=eval")
  assert code == 0 and "test error" in said, said
  path.write_text(path.read_text() + "\n")
  code, said = command("--mode=eval")
  assert code == 1 and f"error: optim.name=adamw needs {path} as it was (SHA-256" in said
  assert "Traceback" not in said
