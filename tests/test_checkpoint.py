"""What is kept, what is passed over, and that nothing is said of it but one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.checkpoint import Checkpoints

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
  listed = lambda: {
    str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    for path in tmp_path.rglob("*")
  }
  before = listed()
  assert restored(tmp_path) == (2, [])
  assert listed() == before
