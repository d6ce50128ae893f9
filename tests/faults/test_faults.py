"""A small campaign: each kind of fault, at a moment drawn from the seed."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import campaign
from tests.warm import Command


def of_runs(tmp_path, processes):
  """A campaign against runs of so many processes, each kind once; what could not be done here."""
  kinds = [kind for kind in campaign.WEIGHTS if kind.endswith("of two") == (processes == 2)]
  steps = 600 // processes  # the kinds for two need fewer to act in
  trial = campaign.Campaign(tmp_path, start=Command, seed=processes, settings={"steps": steps})
  trial.run(kinds, processes)
  assert trial.faults == []
  left_out = {"full disk"} - {record["kind"] for record in trial.injections}
  assert [record["kind"] for record in trial.injections] == [k for k in kinds if k not in left_out]
  return left_out & {*kinds}


@pytest.mark.slow
def test_whatever_is_done_to_it_a_run_ends_as_if_nothing_had_been(tmp_path):
  """One process and two beside each other, as two mostly wait."""
  with ThreadPoolExecutor() as pool:
    left_out = [*pool.map(lambda count: of_runs(tmp_path / str(count), count), (1, 2))]
  if any(left_out):
    pytest.skip("full disk: a tmpfs cannot be mounted here; all else was injected")


@pytest.mark.slow
def test_a_difference_is_seen(tmp_path):
  """The comparison that the campaign rests on can fail."""
  trial = campaign.Campaign(
    tmp_path, start=Command, seed=0, settings={"steps": 4, "checkpoint_every": 2}
  )
  rows, leaves, position = reference = trial.reference(1)
  workdir = tmp_path / "reference1"
  assert campaign.difference(workdir, reference) == ""
  other = [leaf.copy() for leaf in leaves]
  other[-1].view("uint8").reshape(-1)[0] ^= 1
  assert campaign.difference(workdir, (rows, other, position)).startswith("weights")
  assert campaign.difference(workdir, (rows, leaves, position | {"logged": 1})).startswith("pos")
  with (workdir / "metrics.jsonl").open("a") as file:
    file.write("{}\n")
  assert campaign.difference(workdir, reference).startswith("metrics")


@pytest.mark.slow
def test_a_start_on_a_read_only_disk_is_refused_and_changes_nothing(tmp_path):
  trial = campaign.Campaign(tmp_path, start=Command, seed=0, settings={"steps": 300})
  reference = trial.reference(1)
  with campaign.small_disk(tmp_path / "disk") as mounted:
    if not mounted:
      pytest.skip("read-only disk: a tmpfs cannot be mounted here")
    workdir, disk = tmp_path / "disk" / "run", str(tmp_path / "disk")
    running = trial.begin(workdir, 1)
    assert running.until(lambda: campaign.saved(workdir))
    running.kill()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused = trial.begin(workdir, 1)
    assert refused.codes() == [1]
    assert "error: --workdir" in refused.said() and "Read-only file system" in refused.said()
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert trial.begin(workdir, 1).codes() == [0]
    assert campaign.difference(workdir, reference) == ""
