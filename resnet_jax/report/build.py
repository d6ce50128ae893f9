"""From the runs to the page and the files beside it."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from resnet_jax.paper import OTHERS
from resnet_jax.report import depth, facts, figures, paired, tables
from resnet_jax.report.page import Block, Code, Section, Text
from resnet_jax.report.read import ReportedSweep
from resnet_jax.report.style import Style, styles
from resnet_jax.runs.headline import ERROR
from resnet_jax.sweep.plan import flags

METHOD = (
  "Test values are those of the last step. Medians, means and deviations (n − 1) are over the "
  "seeds that are done; a run that diverged or failed is not among them and is named. Training "
  "values are those of the last row of metrics.jsonl, which averages over the steps since the one "
  "before."
)
FAIL = "“fail” is the papers' word for a test error above 20 % on CIFAR-10."
INTERVAL = (
  "A difference is the row's mean less the base row's, over the seeds that both have done. "
  f"Its 95 % interval is a percentile bootstrap of {paired.RESAMPLES:,} resamples with a fixed "
  "seed, in which seeds and test images are drawn independently with replacement, the two rows "
  "paired by seed and by image. It is bold where the interval leaves out zero. With few seeds, "
  "how much they vary is known only roughly, and the interval may be too narrow."
)

PAPERS = (
  "[R] He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385. "
  "[I] He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, arXiv 1603.05027. "
  "Other nets on CIFAR-10 and CIFAR-100, as the latter prints them: "
  + "; ".join(f"{name} {ten:.2f} and {hundred:.2f} %" for name, (ten, hundred) in OTHERS.items())
  + "."
)


def build(sweeps: Sequence[ReportedSweep]) -> Section:
  """The page of all sweeps, in their order."""
  looks = styles(sweeps)
  title = sweeps[0].title if len(sweeps) == 1 else f"The results of {len(sweeps)} sweeps"
  parts = [_sweep(sweep, looks) for sweep in sweeps]
  blocks: Sequence[Block] = parts[0].blocks if len(sweeps) == 1 else parts
  errors = any(row.headline == ERROR for sweep in sweeps for row in sweep.rows)
  texts = [METHOD, INTERVAL, *([FAIL, PAPERS] if errors else [])]
  notes = Section("How the numbers are made", [Text(text) for text in texts])
  timings = [tables.timing(sweep, looks) for sweep in sweeps if any(r.done for r in sweep.rows)]
  times = Section("Time and memory", timings or [Text("No run is done yet.")], id="timing")
  return Section(title, [*blocks, notes, times])


def _sweep(sweep: ReportedSweep, looks: dict[str, Style]) -> Section:
  blocks: list[Block] = [Text(_progress(sweep))]
  begun = [g for g in sweep.groups if any(run.status.state != "waiting" for run in g.runs)]
  for group in begun or sweep.groups:
    name, headline = _file_name(sweep.name, group.name), group.base.headline
    shown: list[Block] = [tables.results(group, looks)]
    if any(run.measured for run in group.runs):
      shown += [
        figures.headlines(group, f"{name}-{_file_name(headline.name)}", looks),
        figures.losses(group, f"{name}-training-loss", looks),
      ]
    blocks.append(Section(group.name or headline.title.capitalize(), shown))
  if drawn := depth.figure(sweep, f"{_file_name(sweep.name)}-depth", looks):
    title = sweep.rows[0].headline.title.capitalize()
    blocks.append(Section(f"{title} against depth", [drawn]))
  rows: list[Block] = [tables.overrides(sweep, looks), Text(_COMMAND), Code(_command(sweep))]
  return Section(sweep.title, [*blocks, Section("The rows", rows)])


_COMMAND = "One run of one row, again; with another row's flags and seed, any other:"


def _command(sweep: ReportedSweep) -> str:
  """Reproduces the first run of the last row."""
  row = sweep.groups[0].rows[-1]
  words = ["python", "-m", "resnet_jax.main", f"--config={sweep.base}", *flags(row.overrides)]
  return shlex.join([*words, f"--config.seed={row.runs[0].seed}", "--workdir=runs/again"])


def _progress(sweep: ReportedSweep) -> str:
  """How many runs are done, and on what."""
  states = Counter(run.status.state for run in sweep.runs)
  said = [f"{states.pop('done', 0)} of {len(sweep.runs)} runs done"]
  said += [f"{count} {state}" for state, count in sorted(states.items())]
  data = ", ".join(facts.all_data(sweep.rows)) or "not known yet"
  return f"{', '.join(said)}. Data: {data}."


def _file_name(*parts: str) -> str:
  return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
