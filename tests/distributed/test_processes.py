"""Several real processes on this machine: what they compute, and how one of them ends."""

import contextlib
import json
import os
import re
import signal

import jax
import numpy as np
import pytest

from resnet_jax import api
from resnet_jax.runs import metrics
from tests import hurry
from tests.data.photos import make as photos
from tests.many import Processes, free_port

# A longer proof: PEERS_NET=configs/resnet.py:depth=20 PEERS_STEPS=50, which trains on CIFAR-10.
NET = f"--config={os.environ.get('PEERS_NET', 'configs/resnet.py:depth=8,digits')}"
STEPS = int(os.environ.get("PEERS_STEPS", 12))
LONG = ["--config.train.steps=100000", "--config.train.log_every=1"]
SAME = "--config.optim.schedule=constant"  # one program, however many steps there are


def flags(**more):
  return [f"--config.train.{key}={value}" for key, value in more.items()]


def start(tmp_path, processes, name, *more, net=NET, **how):
  how.setdefault("devices", 2)
  return Processes(
    processes,
    tmp_path / f"{name}-logs",
    net,
    f"--workdir={tmp_path / name}",
    *([] if "--mode=eval" in more else [SAME]),
    *more,
    **how,
  )


def finished(running):
  codes = running.codes(900)
  assert codes == [0] * len(codes), "\n".join(map(running.said, range(len(codes))))
  return running


def losses(workdir):
  return {(row["step"], row["split"]): row["loss"] for row in metrics.read_rows(workdir)}


def momentum(workdir):
  """What the optimizer has of the gradients."""
  state = api.restore(workdir, "last", api.own_config(workdir))[2]
  return [np.asarray(leaf) for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]


@pytest.mark.slow
def test_losses_and_error_counts_are_those_of_one_process(tmp_path):
  exact = ["--config.model.dtype=float64"]
  exact += flags(steps=STEPS, log_every=1, eval_every=STEPS, checkpoint_every=STEPS)
  finished(start(tmp_path, 1, "one", *exact, devices=1, xla=hurry.FLAGS))
  for processes in (2, 4):
    more = [*exact, f"--devices={2 * processes}"]
    many = finished(start(tmp_path, processes, f"{processes}", *more, xla=hurry.FLAGS))
    one, other = losses(tmp_path / "one"), losses(tmp_path / f"{processes}")
    assert one.keys() == other.keys()
    np.testing.assert_allclose([*other.values()], [*one.values()], rtol=1e-9)
    assert not re.search("step|done", many.said(1))  # the first alone speaks


@pytest.mark.slow
def test_equal_weights_make_the_same_errors(tmp_path):
  finished(start(tmp_path, 1, "run", *flags(steps=STEPS), devices=1))
  found = set()
  for processes in (1, 2, 4):
    test = finished(start(tmp_path, processes, "run", "--mode=eval", net="--verbosity=-1"))
    found.add(*re.findall(r"\d+ of \d+", test.said()))
  assert len(found) == 1


@pytest.mark.slow
def test_gradients_of_one_step_are_those_of_one_process(tmp_path):
  """And of one device, on the digits; on CIFAR-10 ReLUs stand in the way, see below."""
  finished(start(tmp_path, 1, "one", *flags(steps=1), devices=1))
  finished(start(tmp_path, 2, "two", *flags(steps=1)))
  for one, two in zip(momentum(tmp_path / "one"), momentum(tmp_path / "two"), strict=True):
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5 * abs(one).max())


@pytest.mark.slow
def test_processes_change_no_bit(tmp_path):
  """Neither the gradients of a step nor what comes of them, where all else is the same: so many
  devices, sums by gloo, and XLA's threads, whose number decides how it cuts a product into blocks.
  """
  steps = flags(steps=STEPS, log_every=1, eval_every=STEPS)
  for processes in (2, 4):
    one, many = f"one-for-{processes}", f"{processes}"
    gloo = [f"--coordinator=localhost:{free_port()}", "--process_id=0", "--num_processes=1"]
    # Four that compile as a user's do take a minute more on two cores.
    how = {"xla": hurry.FLAGS if processes > 2 else "", "NPROC": "8"}
    finished(start(tmp_path, 1, one, *steps, *gloo, devices=2 * processes, **how))
    finished(start(tmp_path, processes, many, *steps, **how))
    assert losses(tmp_path / one) == losses(tmp_path / many)
    for a, b in zip(momentum(tmp_path / one), momentum(tmp_path / many), strict=True):
      np.testing.assert_array_equal(a, b)


# ReLUs whose inputs round to the other side of zero change the gradients by far more than rounding
# does, on one device against float64 as well (results/README.md); what processes change shows
# without such.
SMOOTH = """
from flax import linen
from configs.resnet import get_config
linen.relu = linen.softplus
"""


@pytest.mark.slow
def test_gradients_without_relu_are_those_of_one_process(tmp_path):
  (tmp_path / "smooth.py").write_text(SMOOTH)
  net = f"--config={tmp_path / 'smooth.py'}:{NET.partition(':')[2]}"
  how = {"net": net, "xla": hurry.FLAGS}
  finished(start(tmp_path, 1, "one", *flags(steps=1), devices=1, **how))
  for processes in (2, 4):
    finished(start(tmp_path, processes, f"{processes}", *flags(steps=1), **how))
    pairs = zip(momentum(tmp_path / "one"), momentum(tmp_path / f"{processes}"), strict=True)
    assert max(np.linalg.norm(many - one) / np.linalg.norm(one) for one, many in pairs) < 1e-5


@pytest.mark.slow
def test_a_run_goes_on_with_other_numbers_of_processes_and_devices(tmp_path):
  exact = ["--config.model.dtype=float64", *flags(log_every=1, eval_every=5, checkpoint_every=5)]
  how = {"xla": hurry.FLAGS}
  finished(start(tmp_path, 1, "whole", *exact, *flags(steps=20), devices=1, **how))
  for steps, processes, devices in ((5, 2, 4), (10, 4, 1), (15, 1, 1), (20, 2, 1)):
    finished(start(tmp_path, processes, "run", *exact, *flags(steps=steps), devices=devices, **how))
  whole, run = losses(tmp_path / "whole"), losses(tmp_path / "run")
  assert whole.keys() == run.keys()
  np.testing.assert_allclose([*run.values()], [*whole.values()], rtol=1e-9)


@pytest.mark.slow
def test_photographs_are_shared_exactly_unreadable_ones_and_the_last_few_included(tmp_path):
  for split, counts in {"train": (9, 10), "val": (6, 5)}.items():
    photos.folder(tmp_path / "photos", dict(zip("ab", counts, strict=True)), split)
  (tmp_path / "photos" / "val" / "a" / "001.jpg").write_bytes(b"nothing")
  (tmp_path / "photos" / "train" / "b" / "003.jpg").write_bytes(b"nothing")
  net = f"--config=configs/imagenet/miniature.py:dir={tmp_path / 'photos'}"
  small = ["--config.data.image_size=32", "--config.data.batch_size=8", "--config.data.workers=1"]
  small += ["--config.model.dtype=float64", "--config.optim.warmup=0"]
  small += flags(steps=4, log_every=1, eval_every=2, checkpoint_every=2)
  how = {"net": net, "xla": hurry.FLAGS}
  finished(start(tmp_path, 1, "one", *small, devices=1, **how))
  two = finished(start(tmp_path, 2, "two", *small, **how))
  one, other = losses(tmp_path / "one"), losses(tmp_path / "two")
  np.testing.assert_allclose([*other.values()], [*one.values()], rtol=1e-9)
  said = two.said(0) + two.said(1)
  assert "001.jpg cannot be read and counts as an error" in said
  for path in ("one", "two"):
    result = json.loads((tmp_path / path / "result.json").read_text())
    assert result["test_error"] >= 100 / 11


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_has_all_save_and_leave(tmp_path, told):
  running = start(tmp_path, 2, "run", *LONG)
  assert running.until(lambda: len(losses(tmp_path / "run")) > 3)
  running.all[told].send_signal(signal.SIGUSR2)
  assert running.codes(120) == [75, 75]
  assert "stopped by SIGUSR2 at step" in running.said(told)
  assert "stopped by a signal to another process at step" in running.said(1 - told)
  (step,) = re.findall(r"at step (\d+); run it again", running.said(0))
  again = start(tmp_path, 2, "run", *LONG)
  assert again.until(lambda: f"resuming at step {step}" in again.said(0))
  again.kill()


def hangs(tmp_path):
  """Two that train on photographs of a folder that does not answer: pipes without writers."""
  photos.folder(tmp_path / "photos", {"a": 16, "b": 16})
  photos.folder(tmp_path / "photos", {"a": 2, "b": 2}, "val")
  net = f"--config=configs/imagenet/miniature.py:dir={tmp_path / 'photos'}"
  small = ["--config.data.image_size=32", "--config.data.batch_size=8", "--config.data.workers=1"]
  running = start(tmp_path, 2, "hangs", *small, *LONG, net=net)
  assert running.until(lambda: len(losses(tmp_path / "hangs")) > 1)
  for photo in (tmp_path / "photos" / "train").rglob("*.jpg"):
    photo.unlink()
    os.mkfifo(photo)
  return running


def lost(tmp_path, number, how):
  """Two that train, of which one is killed or stopped."""
  name = f"{how}-of-{number}"
  running = start(tmp_path, 2, name, *LONG)
  assert running.until(lambda: len(losses(tmp_path / name)) > 1)
  running.all[number].send_signal(getattr(signal, how))
  return running


def lost_in_an_evaluation(tmp_path):
  finished(start(tmp_path, 1, "test", *flags(steps=1), devices=1))
  endless = ["--mode=eval", "--precise_bn=1000000"]
  cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}  # where nothing is compiled yet
  running = start(tmp_path, 2, "test", *endless, net="--verbosity=-1", **cache)
  assert running.until(lambda: list((tmp_path / "cache").glob("jit__lambda*")))
  running.all[1].kill()
  return running


def brought_down(running, number):
  """The other process ends by itself, with the name of the one that is lost."""
  with contextlib.ExitStack() as stack:
    stack.callback(running.kill)
    assert running.all[1 - number].wait(120) == 75
    name = rf"error: process {number} of 2 \(host \S+\).*run it again"
    assert re.search(name, running.said(1 - number))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("number", [0, 1])
def test_one_that_is_lost_brings_the_other_down_by_name(tmp_path, number, how):
  brought_down(lost(tmp_path, number, how), number)


@pytest.mark.slow
def test_one_that_is_lost_in_an_evaluation_brings_the_other_down_by_name(tmp_path):
  brought_down(lost_in_an_evaluation(tmp_path), 1)


@pytest.mark.slow
def test_one_that_hangs_brings_all_down_by_name(tmp_path):
  stuck = hangs(tmp_path)
  assert stuck.codes(120) == [75, 75]
  name = r"process \d of 2 \(host \S+\) has been reading photographs for over 60 s"
  assert re.search(name, stuck.said(0) + stuck.said(1))


def test_what_one_alone_finds_wrong_ends_all_with_its_words(tmp_path):
  running = start(tmp_path, 2, "run", *LONG, own={1: ["--config.data.batch_size=20"]})
  assert running.codes(120) == [1, 1]
  for number in (0, 1):
    assert "config.data.batch_size of process 1 is 20, of process 0 16" in running.said(number)
  assert not (tmp_path / "run").exists()


MINE = """import resnet_jax
from configs import resnet

@resnet_jax.shortcut("halved")
def halved(unit, x, key):
  return 0.5 * unit.project(x), 1

def get_config(argument=""):
  config = resnet.get_config(argument)
  config.model.shortcut = "halved"
  config.train.steps = 2
  return config
"""


@pytest.mark.slow
def test_a_users_file_is_the_same_text_in_all_processes(tmp_path):
  for name, text in {"a": MINE, "b": MINE, "c": MINE.replace("0.5", "0.4")}.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.py").write_text(text)

  def of_each(name, first, second):
    given = {
      number: [f"--config={tmp_path / place / 'mine.py'}:depth=8,digits"]
      for number, place in enumerate((first, second))
    }
    return Processes(2, tmp_path / f"{name}-logs", f"--workdir={tmp_path / name}", own=given)

  other = of_each("other", "a", "c")
  assert other.codes(120) == [1, 1]
  assert "SHA-256 of model.shortcut=halved of process 1 is" in other.said(0)
  assert not (tmp_path / "other").exists()
  finished(of_each("same", "a", "b"))  # wherever it lies on a host


@pytest.mark.slow
def test_an_error_of_one_process_is_told_to_the_others(tmp_path):
  photos.folder(tmp_path / "photos", {"a": 4, "b": 4})
  photos.folder(tmp_path / "photos", {"a": 2, "b": 2}, "val")
  net = f"--config=configs/imagenet/miniature.py:dir={tmp_path / 'photos'}"
  running = start(tmp_path, 2, "run", *LONG, net=net, own={1: ["--config.data.dir=/nowhere"]})
  assert running.codes(120) == [1, 1]
  assert re.search(r"error: process 1 of 2 \(host \S+\): .*/nowhere", running.said(0))
  assert "/nowhere" in running.said(1)


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (["--process_id=0"], "--coordinator and --num_processes must be given too"),
    (["--coordinator=here", "--process_id=0", "--num_processes=2"], "'here' is no HOST:PORT"),
    (["--coordinator=a:1", "--process_id=2", "--num_processes=2"], "--process_id=2 must be 0 to 1"),
    (["--devices=3"], "--devices=3: there are 2"),
    (["--devices=2", "--config.data.batch_size=7"], "batch_size=7 cannot be shared by 2 devices"),
  ],
)
def test_flags_that_do_not_fit_are_refused_in_one_line(tmp_path, given, said):
  running = start(tmp_path, 1, "run", *given)
  assert running.codes(60) == [1]
  assert said in running.said()
  assert running.said().count("\n") == 1
  assert not (tmp_path / "run").exists()
