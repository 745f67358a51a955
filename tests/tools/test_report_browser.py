"""The report's page in a real browser: on a screen, on a telephone, on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from mpibatch.cli import main
from tests.support.studies import amdahl, build

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytestmark = pytest.mark.browser

# It asks nobody, updates nothing and keeps nothing.
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage",
]  # fmt: skip
PAPER = 680  # CSS pixels between A4's margins

# The page is shown in frames of its own; what is outside of them measures.
MEASURE = """\
<script>
addEventListener("load", () => {
  const told = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, width = page.documentElement.clientWidth;
    // The heads of tables that became cards are for screen readers, in a box of one dot.
    const hidden = e => e.closest("thead") && getComputedStyle(e.closest("thead")).position === "absolute";
    const seen = [...page.body.querySelectorAll("*")].filter(e => !hidden(e));
    const wide = seen.filter(e => (!e.closest("svg") || e.tagName === "svg")
                                  && e.getBoundingClientRect().right > width + 1)
      .map(e => e.tagName + ": " + e.textContent.slice(0, 40));
    const cut = seen.filter(e => e.matches("td, th, p, dd, pre, li") && e.scrollWidth > e.clientWidth + 1)
      .map(e => e.textContent.slice(0, 40));
    return {width, scroll: page.documentElement.scrollWidth, height: page.documentElement.scrollHeight, wide, cut,
            plots: [...page.querySelectorAll("svg")].map(e => e.getBoundingClientRect().width),
            letters: page.body.innerText.length, ink: getComputedStyle(page.body).color,
            loaded: frame.contentWindow.performance.getEntriesByType("resource").length};
  });
  document.body.innerHTML = "";
  document.body.dataset.told = JSON.stringify(told);
});
</script>
"""


def browse(folder: Path, page: Path, *options: str) -> str:
    browser = shutil.which("chromium") or shutil.which("chrome")
    assert browser is not None
    profile = folder / "profile"
    command = [browser, *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The page of an ordinary study, and of one with many counts and names without end."""

    def ordinary(made: dict[str, Any], ranks: int, repeat: int) -> None:
        made["run"]["predicted"] = {"seconds": 1.1 * amdahl(ranks), "memory": 3e8}

    def unruly(made: dict[str, Any], ranks: int, repeat: int) -> None:
        ordinary(made, ranks, repeat)
        long = "long_name_" * 20
        made["run"] |= {
            "hosts": {f"{long}{ranks}": ranks},
            "versions": {long: long},
            "laps": {long: 1.0, "writing": 2.0},
        }
        made["run"]["kernels"] = [{**made["run"]["kernels"][0], "name": f"{long}{i}"} for i in range(9)]
        made["run"]["shape"] = [123456, 123456, 123456]

    folder = tmp_path_factory.mktemp("pages")
    tidy = build(folder / "tidy", change=ordinary)
    counts = tuple(2**i for i in range(10))
    wild = build(
        folder / "wild", counts=counts, repeat=4, change=unruly, name="n" * 300, source="/s" * 200, job="x" * 900,
        mode="weak", law=lambda p: 8 + p / 100, settings=["k=" + "v" * 200],
    )  # fmt: skip
    for study in (tidy, wild):
        assert main(["report", str(study.path), "--compare", str(study.path), "--quiet"]) == 0
    return [study.path / "report" / "index.html" for study in (tidy, wild)]


def test_nothing_is_cut_off_at_any_width(pages, tmp_path):
    frames = []
    for path in pages:
        text = path.read_text()
        paper = text.replace("@media print", "@media all").replace("@media screen", "@media speech")
        for width, shown in ((1200, text), (768, text), (400, text), (PAPER, paper)):
            frames.append(
                f'<iframe width="{width}" height="900" frameborder="0" srcdoc="{html.escape(shown)}"></iframe>'
            )
    wrapper = tmp_path / "frames.html"
    wrapper.write_text(f"<!DOCTYPE html><body>{''.join(frames)}{MEASURE}</body>")
    document = browse(tmp_path, wrapper, "--window-size=1300,900", "--virtual-time-budget=5000", "--dump-dom")
    data = re.search(r'data-told="([^"]*)"', document)
    assert data is not None
    measured_frames = json.loads(html.unescape(data[1]))
    assert [frame["width"] for frame in measured_frames] == [1200, 768, 400, PAPER] * 2
    for frame in measured_frames:
        assert frame["scroll"] <= frame["width"], frame
        assert not frame["wide"], frame
        assert not frame["cut"], frame
        assert len(frame["plots"]) == 5
        assert min(frame["plots"]) >= 0.4 * min(frame["width"], 760)  # not shrunk out of sight
        assert frame["letters"] > 3000
        assert frame["loaded"] == 0  # it asks for nothing


def test_it_is_seen(pages, tmp_path):
    image = pytest.importorskip("PIL.Image")
    browse(tmp_path, pages[0], "--window-size=1200,1600", f"--screenshot={tmp_path / 'seen.png'}")
    with image.open(tmp_path / "seen.png") as opened:
        shot = opened.convert("RGB")
    assert shot.size == (1200, 1600)
    colors = {color: count for count, color in shot.getcolors(1 << 24)}
    assert colors[255, 255, 255] > 0.7 * 1200 * 1600  # on white
    assert sum(count for color, count in colors.items() if max(color) < 60) > 3000  # dark letters
    assert colors.get((0, 114, 178), 0) > 200  # the measured line is there
    edge = shot.crop((1180, 0, 1200, 1600)).getcolors(1 << 20)
    assert edge == [(20 * 1600, (255, 255, 255))]


def test_it_can_be_printed(pages, tmp_path):
    browse(tmp_path, pages[0], f"--print-to-pdf={tmp_path / 'page.pdf'}")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    boxes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", data)
    assert {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}  # A4, upright
    assert 2 <= len(boxes) <= 7
