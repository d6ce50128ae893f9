"""What is kept, what is passed over, and that nothing is said of it but one line."""

import re
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from resnet_jax.errors import UserError
from resnet_jax.runs import checkpoint
from resnet_jax.runs.checkpoint import Checkpoints

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
TEMPLATE = {
  "a": jax.ShapeDtypeStruct((300, 40), jnp.float32, sharding=HERE),
  "b": jax.ShapeDtypeStruct((), jnp.int32, sharding=HERE),
}


def state(number):
  noise = np.random.default_rng(number).standard_normal((300, 40), np.float32)
  return {"a": jnp.asarray(noise), "b": jnp.int32(number)}


def save(workdir, steps, best=None):
  checkpoints = Checkpoints(workdir, print)
  checkpoints.best_step = best
  for step in steps:
    checkpoints.save(step, state(step), {"step": step})
  checkpoints.settle()
  checkpoints.close()
  assert checkpoints.last_good == steps[-1]


def restored(workdir):
  """The step that a new start would go on from, and what it is told."""
  said = []
  found = Checkpoints(workdir, said.append).restore(TEMPLATE)
  if found:
    np.testing.assert_array_equal(found[0]["a"], state(found[1]["step"])["a"])
  return found and found[1]["step"], said


def test_the_last_three_and_the_best_are_kept(tmp_path):
  save(tmp_path, [1, 2, 3, 4, 5, 6], best=2)
  assert Checkpoints(tmp_path, print).steps() == [6, 5, 4, 2]


def files(tmp_path, step):
  return sorted(p for p in (tmp_path / "checkpoints" / str(step)).rglob("*") if p.is_file())


def flipped(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
  "a bit flipped": flipped,
  "cut short": lambda data: data[: len(data) // 2],
  "emptied": lambda data: b"",
  "null": lambda data: b"null",
  "deleted": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGE)
def test_damage_anywhere_is_harmless_or_told_in_one_line(tmp_path, capfd, how):
  save(tmp_path, [1, 2])
  passed_over = 0
  for file in files(tmp_path, 2):
    whole = file.read_bytes()
    if DAMAGE[how] is None:
      file.unlink()
    elif whole:
      file.write_bytes(DAMAGE[how](whole))
    step, said = restored(tmp_path)
    assert step in (1, 2)
    assert [line.split(":")[0] for line in said] == ["checkpoint 2 is damaged and passed over"] * (
      step == 1
    )
    passed_over += step == 1
    file.write_bytes(whole)
  assert passed_over >= 2
  assert restored(tmp_path) == (2, [])
  assert capfd.readouterr() == ("", "")


def test_what_was_passed_over_is_set_aside_each_time(tmp_path):
  for _ in range(2):
    save(tmp_path, [1, 2])
    Checkpoints(tmp_path, print).discard_after(0)
  aside = tmp_path / "checkpoints_damaged"
  assert sorted(p.name for p in aside.iterdir()) == ["1.0", "1.1", "2.0", "2.1"]


def test_what_a_kill_left_of_a_save_is_removed_with_the_next(tmp_path):
  save(tmp_path, [1])
  left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  (tmp_path / "checkpoints" / "1").rename(left)
  assert restored(tmp_path) == (None, [])
  save(tmp_path, [2])
  assert not left.exists()
  assert restored(tmp_path) == (2, [])


def test_restoring_writes_nothing(tmp_path):
  save(tmp_path, [1, 2])

  def listed():
    return {
      str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
      for path in tmp_path.rglob("*")
    }

  before = listed()
  assert restored(tmp_path) == (2, [])
  assert listed() == before


NAMES = ["lr[0.1]*?{a,b}#%20\\\n\t|&$~ ", "a**b", "\udcff", "gs:", "größe_模型", "r-1_a.b,c+d=e@f"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inside", [False, True], ids=["its own name", "a parent's"])
def test_a_folder_of_any_name_is_saved_to_and_restored_from(
  tmp_path, name, inside, capfd, monkeypatch
):
  temporary = tmp_path / "temporary"
  temporary.mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(temporary))
  folder = tmp_path / name / "run" if inside else tmp_path / name
  save(folder, [1])
  save(folder, [2])
  assert restored(folder) == (2, [])
  assert [p.name for p in folder.iterdir()] == ["checkpoints"]
  Checkpoints(folder, print).discard_after(1)
  assert restored(folder) == (1, [])
  assert {p.name for p in tmp_path.iterdir()} == {name, "temporary"}  # and nothing elsewhere
  assert not list(temporary.iterdir())
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("odd", sorted("[]:*?{}#%\\\n\t\x01 |&$~!;()<>^`'\"\udcff"))
def test_only_names_that_orbax_takes_literally_are_given_to_it(odd):
  assert not checkpoint.PLAIN.fullmatch(f"/home/a{odd}b/run")
  assert not checkpoint.PLAIN.fullmatch(f"/home/run{odd}")


@pytest.mark.parametrize("name", ["/gs/run", "/s3/run", "/az/run", "/hf/run"])
def test_folders_that_orbax_takes_for_buckets_have_another_name_for_it(name):
  assert not checkpoint.PLAIN.fullmatch(name)
  assert checkpoint.PLAIN.fullmatch(f"/mnt{name}")


def test_where_no_folder_has_a_plain_name_the_run_is_refused(tmp_path, monkeypatch):
  odd = tmp_path / "tmp[0]"
  odd.mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(odd))
  Checkpoints(tmp_path / "run", print)
  with pytest.raises(UserError, match=r"run\[0\].* cannot be saved under, and so has TMPDIR=.*tmp"):
    Checkpoints(tmp_path / "run[0]", print)


class Losing(ocp.CheckpointManager):
  """Orbax's manager, which drops a part of what it is to save and says nothing."""

  drop = "state"

  def save(self, step, *, args, **more):
    if self.drop == "state":
      args = ocp.args.Composite(position=args.position)
    elif self.drop == "position":
      args = ocp.args.Composite(state=args.state)
    elif self.drop == "an array":
      kept = {key: value for key, value in args.state.item.items() if key != "a"}
      args = ocp.args.Composite(state=ocp.args.StandardSave(kept), position=args.position)
    elif self.drop == "a shape":
      less = {key: value[:1] if value.ndim else value for key, value in args.state.item.items()}
      args = ocp.args.Composite(state=ocp.args.StandardSave(less), position=args.position)
    return super().save(step, args=args, **more)


@pytest.mark.parametrize("what", ["state", "position", "an array", "a shape"])
def test_a_save_without_what_a_restore_needs_is_no_save(tmp_path, monkeypatch, what):
  save(tmp_path, [1])
  said = []
  checkpoints = Checkpoints(tmp_path, said.append)
  with monkeypatch.context() as patched:
    patched.setattr(ocp, "CheckpointManager", Losing)
    patched.setattr(Losing, "drop", what)
    checkpoints.save(2, state(2), {"step": 2})
    checkpoints.settle()
  assert (checkpoints.last_good, bool(checkpoints.failure)) == (None, True)
  assert len(said) == 1 and said[0].startswith("checkpoint 2 could not be saved and is tried again")
  assert checkpoints.steps() == [1]
  checkpoints.save(2, state(2), {"step": 2})
  checkpoints.settle()
  checkpoints.close()
  assert (checkpoints.last_good, checkpoints.failure) == (2, None)


def test_orbax_under_brackets_is_found_out(tmp_path, monkeypatch):
  """By the check alone: without the name that Orbax takes literally it loses the arrays."""
  monkeypatch.setattr(checkpoint, "PLAIN", re.compile(".*"))
  checkpoints = Checkpoints(tmp_path / "lr[0.1]", lambda _: None)
  checkpoints.save(1, state(1), {"step": 1})
  checkpoints.settle()
  checkpoints.close()
  assert checkpoints.last_good is None and checkpoints.failure


def test_a_checkpoint_of_another_run_is_passed_over_and_named(tmp_path):
  save(tmp_path, [1, 2])

  def other(position):
    return "seed 1, here 0" if position["step"] == 2 else None

  said = []
  checkpoints = Checkpoints(tmp_path, said.append)
  assert checkpoints.restore(TEMPLATE, foreign=other)[1] == {"step": 1}
  assert said == ["checkpoint 2 is of another run (seed 1, here 0) and passed over"]
  assert checkpoints.restore(TEMPLATE, 2, other) is None
  assert checkpoints.refused == "checkpoint 2 is of another run (seed 1, here 0)"
  assert len(said) == 1


def test_a_state_of_other_shapes_is_told_from_damage_by_its_position(tmp_path):
  save(tmp_path, [1])
  larger = TEMPLATE | {"a": jax.ShapeDtypeStruct((300, 50), jnp.float32, sharding=HERE)}
  said = []
  assert Checkpoints(tmp_path, said.append).restore(larger, foreign=lambda _: "of 40") is None
  assert said == ["checkpoint 1 is of another run (of 40) and passed over"]

  def refuse(position):
    raise UserError(f"not these data at step {position['step']}")

  with pytest.raises(UserError, match="not these data at step 1"):
    Checkpoints(tmp_path, said.append).restore(larger, foreign=refuse)
  assert Checkpoints(tmp_path, said.append).restore(larger) is None
  assert said[1].startswith("checkpoint 1 is damaged and passed over: ")
