"""What a result says of the code that it was made with."""

import subprocess

import pytest

from resnet_jax.runs import results


@pytest.fixture
def checkout(tmp_path, monkeypatch):
  """Somebody's checkout with one commit."""
  for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
    monkeypatch.setenv(name, "a@b")
  (tmp_path / "tracked.py").touch()
  for command in ("init -q", "add tracked.py", "commit -q -m one"):
    subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
  return tmp_path


def test_the_commit_is_that_of_this_code(checkout, monkeypatch):
  monkeypatch.setattr(results, "__file__", str(checkout / "tracked.py"))
  revision = results.git_revision()
  assert revision and len(revision) == 40
  (checkout / "tracked.py").write_text("edited")
  assert results.git_revision() == f"{revision}-dirty"


def test_a_package_installed_inside_a_checkout_is_not_of_its_commit(checkout, monkeypatch):
  monkeypatch.setattr(results, "__file__", str(checkout / ".venv" / "results.py"))
  (checkout / ".venv").mkdir()
  (checkout / ".venv" / "results.py").touch()
  assert results.git_revision() is None
