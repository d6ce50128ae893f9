"""--mode=eval scores every class under its name, in whatever order a run has learnt them.

The networks here tell grey levels apart, and each class is one level: a run's classifier holds the
level of each of its outputs, so that what it predicts depends on nothing but their order.
"""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from resnet_jax import api, evaluate
from resnet_jax.config import default_config, to_json
from resnet_jax.distributed import mesh
from resnet_jax.errors import UserError
from resnet_jax.runs import metrics, record
from resnet_jax.runs.checkpoint import Checkpoints
from resnet_jax.training import evaluation, setup

NUMBERS = tuple(map(str, range(12)))


def level(name):
  """The grey of a class: its number, or by its first letter."""
  return 20 * int(name) + 10 if name.isdecimal() else 9 * (ord(name[0]) - ord("a")) + 10


def photographs(root, names, split="val", count=2):
  """Folders of one-coloured images, a class each, and the same as a list; returns the root."""
  lines = []
  for name in names:
    (root / split / name).mkdir(parents=True)
    for number in range(count):
      path = f"{split}/{name}/{number}.png"
      Image.new("RGB", (32, 32), (level(name),) * 3).save(root / path)
      lines.append(f"{path} {name}\n")
  (root / f"{split}.txt").write_text("".join(reversed(lines)))
  return root


def config_of(root, kind="folder"):
  config = default_config()
  config.model.depth = 8
  config.data.update({"name": kind, "dir": str(root), "normalize": "imagenet", "image_size": 32})
  config.data.update({"train_split": "val", "test_split": "val", "workers": 0, "batch_size": 8})
  return config


def trained(folder, root, names, kind="folder", known=True, result=None):
  """A run whose outputs stand for `names`; its checkpoint says so if they are `known`."""
  config = config_of(root, kind)
  folder.mkdir()
  metrics.write_json(folder / "config.json", to_json(config))
  info = api.data.describe(config.data, (32, 32, 3), tuple(names))
  here = mesh.replicated(mesh.build())
  template = setup.template(api.learner(config, info), info.shape, here)
  state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
  state.params["classifier"]["bias"][:] = [level(name) for name in names]
  whose = record.whose(config, names if known else None)
  position = record.Position(step=4, data="fingerprint", **whose)
  checkpoints = Checkpoints(folder, print)
  checkpoints.save(4, state, dataclasses.asdict(position))
  checkpoints.settle()
  checkpoints.close()
  data = {"shape": [32, 32, 3], "classes": list(names)} | (result or {})
  metrics.write_json(folder / "result.json", {"data": data})
  return folder


@pytest.fixture(autouse=True)
def nearest_level(monkeypatch):
  """A network that answers with the distance of an image's grey to the level of each output."""

  def answer(learner, columns, variables, batch):
    grey = np.asarray(batch.images).mean((1, 2, 3))
    levels = np.asarray(variables["params"]["classifier"]["bias"])
    logits = -((grey[:, None] - levels) ** 2)
    return {"logits": logits if columns is None else logits[:, columns]}

  monkeypatch.setattr(evaluation, "_eval_step", answer)


def test_a_class_renamed_so_that_the_order_changes_is_refused_by_name(tmp_path):
  root = photographs(tmp_path / "photos", ("apple", "leaf", "sky"))
  run = trained(tmp_path / "run", root, ("apple", "leaf", "sky"))
  assert evaluate.evaluate(None, [run]).metrics["error"] == 0
  (root / "val" / "apple").rename(root / "val" / "zebra")
  with pytest.raises(UserError, match="the training set of .*run has the class 'apple', the test"):
    evaluate.evaluate(None, [run])


@pytest.mark.parametrize(("kind", "other"), [("folder", "list"), ("list", "folder")])
def test_numbers_sorted_as_words_by_one_and_as_numbers_by_another(tmp_path, kind, other, capsys):
  root = photographs(tmp_path / "photos", NUMBERS)
  names = sorted(NUMBERS) if kind == "folder" else NUMBERS
  run, file = trained(tmp_path / "run", root, names, kind), tmp_path / "found.npz"
  found = evaluate.evaluate(config_of(root, other), [run], predictions=str(file))
  assert found.metrics["error"] == 0
  # What is saved is in the order of the test set, not of the run.
  order = NUMBERS if other == "list" else sorted(NUMBERS)
  paths = [line.split()[0] for line in (root / "val.txt").read_text().splitlines()]
  paths = paths if other == "list" else sorted(paths)
  expected = [order.index(path.split("/")[1]) for path in paths]
  saved = np.load(file)
  assert saved["labels"].tolist() == saved["predictions"].tolist() == expected
  assert "not known" not in capsys.readouterr().out


def test_an_imported_net_on_numbered_folders(tmp_path, capsys):
  root = photographs(tmp_path / "photos", NUMBERS)
  run = trained(tmp_path / "run", root, NUMBERS, known=False)
  found = evaluate.evaluate(None, [run])
  assert (found.metrics["error"], found.metrics["top5_error"]) == (0, 0)
  said = [line for line in capsys.readouterr().out.splitlines() if "are not known" in line]
  assert len(said) == 1 and said[0].endswith("in the order of their numbers: 0, 1, 2, ...")
  other = photographs(tmp_path / "other", NUMBERS[:11])
  with pytest.raises(UserError, match="run tells 12 classes apart, the test set 'folder' in .* 11"):
    evaluate.evaluate(config_of(other), [run])


def test_an_ensemble_is_of_the_same_classes_in_any_order(tmp_path):
  root = photographs(tmp_path / "photos", NUMBERS)
  runs = [
    trained(tmp_path / "words", root, sorted(NUMBERS)),
    trained(tmp_path / "numbers", root, NUMBERS),
  ]
  assert evaluate.evaluate(config_of(root, "list"), runs).metrics["error"] == 0
  elsewhere = photographs(tmp_path / "elsewhere", (*NUMBERS[:11], "zebra"))
  runs.append(trained(tmp_path / "others", elsewhere, (*sorted(NUMBERS[:11]), "zebra")))
  with pytest.raises(UserError, match="the training set of .*others has the class 'zebra', the"):
    evaluate.evaluate(None, runs[1:])


def test_an_ensemble_is_tested_on_the_same_examples(tmp_path):
  root = photographs(tmp_path / "photos", ("apple", "sky"))
  other = photographs(tmp_path / "other", ("apple",), count=1)
  photographs(other, ("sky",), count=3)
  runs = [trained(tmp_path / str(i), r, ("apple", "sky")) for i, r in enumerate((root, other))]
  with pytest.raises(UserError, match="test example 1 is of another class for one run than for"):
    evaluate.evaluate(None, runs)


@pytest.mark.parametrize("own", [True, False])
def test_an_older_run_has_its_names_from_its_result(tmp_path, own, capsys):
  root = photographs(tmp_path / "photos", NUMBERS)
  result = {"fingerprint": "fingerprint" if own else "of other data"}
  run = trained(tmp_path / "run", root, sorted(NUMBERS), known=False, result=result)
  found, said = evaluate.evaluate(None, [run]), capsys.readouterr().out
  assert (found.metrics["error"] == 0, "are not known" in said) == (own, not own)


def test_a_loaded_run_names_the_classes_it_has_learnt(tmp_path):
  root = photographs(tmp_path / "photos", ("apple", "leaf", "sky"))
  run = trained(tmp_path / "run", root, ("sky", "apple", "leaf"))
  (run / "result.json").unlink()
  (root / "val" / "apple").rename(root / "val" / "zebra")
  assert api.load_run(run).info.classes == ("sky", "apple", "leaf")
  photographs(root, ("berry",))
  with pytest.raises(
    UserError, match="the classes 'berry', 'zebra' are new, .* 'apple' is missing"
  ):
    api.load_run(run)
