"""What stands on a terminal and in a file."""

import io

import pytest
from rich.console import Console

from resnet_jax import cli
from resnet_jax.runs import progress
from resnet_jax.runs.progress import Progress


def shown(terminal, use, total=100):
  console = Console(
    file=io.StringIO(), force_terminal=terminal, highlight=False, width=160, soft_wrap=True
  )
  with Progress(total, console) as bar:
    use(bar)
  return console.file.getvalue()


def test_plain_lines_are_few_and_the_last_step_has_one(monkeypatch):
  now = [1000.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

  def use(bar):
    for step in range(1, 101):
      now[0] += 1
      bar.update(step, "loss 0.5000  error 12.35 %", 256.4)

  lines = shown(False, use).splitlines()
  assert [line.split()[1] for line in lines] == [
    f"{step}/100" for step in (*range(1, 101, 10), 100)
  ]
  assert lines[1] == "step 11/100  loss 0.5000  error 12.35 %  256 images/s  1:29 left"
  assert "\x1b" not in "".join(lines)


def test_time_left_of_a_resumed_run_counts_its_own_steps(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

  def use(bar):
    bar.update(90, "loss 1.0000", 5.0)
    now[0] = 10.0
    bar.update(95, "loss 1.0000", 5.0)

  first, second = shown(False, use).splitlines()
  assert first.endswith("5.0 images/s  -:-- left")
  assert second.endswith("0:10 left")


def test_messages_are_printed_as_they_are():
  text = "[bold] optim.schedule=[step] " + "x" * 300

  def use(bar):
    bar.phase("compiling [net]")
    bar.message(text)

  assert shown(False, use) == f"compiling [net] ...\n{text}\n"


def test_a_run_that_takes_no_step_has_no_bar():
  assert shown(True, lambda bar: bar.message("done already")) == "done already\n"


def test_a_terminal_has_a_bar_below_the_messages():
  def use(bar):
    bar.update(42, "loss 0.2500  error 9.10 %", 300.0)
    bar.message("step 40: test error 9.00 %")
    bar.update(100, "loss 0.2000  error 8.00 %", 300.0)

  text = shown(True, use)
  assert "test error 9.00 %" in text
  assert "100/100" in text
  assert "loss 0.2000  error 8.00 %  300 images/s" in text


NAMES = {"utf-8": ("caf\udce9 ± é", "caf\\udce9 ± é"), "ascii": ("caf\udce9 é", "caf\\udce9 \\xe9")}


def strict(encoding, monkeypatch):
  """Puts a standard output of an encoding in place; returns what has been printed to it."""
  stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
  monkeypatch.setattr("sys.stdout", stream)

  def printed():
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)

  return printed


@pytest.mark.parametrize("encoding", NAMES)
def test_a_run_prints_names_that_the_terminal_cannot(encoding, monkeypatch):
  printed, (name, escaped) = strict(encoding, monkeypatch), NAMES[encoding]
  with Progress(1) as bar:
    bar.message(name)
    bar.warn(name)
    bar.phase(name)
  progress.say(name)
  assert printed().splitlines() == [escaped, escaped, f"{escaped} ...", escaped]


@pytest.mark.parametrize("encoding", NAMES)
def test_commands_print_names_that_the_terminal_cannot(encoding, monkeypatch):
  printed, (name, escaped) = strict(encoding, monkeypatch), NAMES[encoding]
  with pytest.raises(UnicodeEncodeError):
    print(name, flush=True)
  monkeypatch.setattr(cli.preemption, "leave_at_once", lambda: None)  # signals stay pytest's
  monkeypatch.setattr(cli.app, "run", lambda *_, **__: print(name))
  cli.run(lambda _: None, lambda argv: argv)
  assert printed() == f"{escaped}\n"
