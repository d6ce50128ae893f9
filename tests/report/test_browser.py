"""The page in a real browser: a phone, a desk, paper."""

import html
import shutil
import subprocess

import fake
import pytest

from resnet_jax.report.read import read
from resnet_jax.report.write import write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
  pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
  pytest.mark.slow,
]

# Measures the page in a frame of each width: the page itself may run no scripts.
PROBE = """<!doctype html><body>{frames}<script>
onload = () => {{
  document.title = [...document.querySelectorAll("iframe")].map(frame => {{
    const root = frame.contentDocument.documentElement
    const asked = frame.contentWindow.performance.getEntriesByType("resource").length
    return [frame.width, root.scrollWidth, root.querySelectorAll("table").length, asked].join()
  }}).join(";")
}}
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  folder = tmp_path_factory.mktemp("sweep")
  rows = {"original": {}, "a long name for a row of its own": {"model.shortcut": "conv"}}
  rows |= {f"bias {-b}": {"model.shortcut": "exclusive_gating"} for b in range(4)}
  plan = fake.save(folder, rows, base="configs/resnet.py:depth=110,digits")
  for number, run in enumerate(plan.runs(folder)):
    fake.train(folder, plan, run, 4.0 + 3 * number, "failed" if number == 3 else "done")
  return write(read([folder]), folder / "report")


def chromium(*flags):
  return subprocess.run(
    [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", *map(str, flags)],
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_the_browser_finds_the_tables_and_figures(page):
  dom = chromium("--dump-dom", page.as_uri()).stdout
  assert dom.count("<table>") == dom.count("<caption>") == 3
  assert dom.count('<svg role="img" aria-label="') == 2
  assert '<section id="timing">' in dom


def test_it_fits_phone_and_desk_and_asks_for_nothing(page, tmp_path):
  widths = (390, 768, 1280)
  source = html.escape(page.read_text())
  frames = "".join(f'<iframe width="{w}" height="800" srcdoc="{source}"></iframe>' for w in widths)
  probe = tmp_path / "probe.html"
  probe.write_text(PROBE.format(frames=frames))
  dom = chromium("--virtual-time-budget=20000", "--dump-dom", probe.as_uri()).stdout
  title = dom.split("<title>")[1].split("</title>")[0]
  for line, width in zip(title.split(";"), widths, strict=True):
    shown, scroll, tables, asked = map(int, line.split(","))
    assert (shown, tables, asked) == (width, 3, 0)
    assert scroll <= width


def test_it_is_drawn_and_printed(page, tmp_path):
  shot, paper = tmp_path / "shot.png", tmp_path / "page.pdf"
  chromium("--window-size=1280,1600", f"--screenshot={shot}", page.as_uri())
  chromium("--no-pdf-header-footer", f"--print-to-pdf={paper}", page.as_uri())
  assert shot.read_bytes().startswith(b"\x89PNG") and shot.stat().st_size > 50_000
  assert paper.read_bytes().startswith(b"%PDF") and paper.stat().st_size > 50_000
