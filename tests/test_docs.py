"""The site of scripts/docs.sh: every chapter and public name has its place, and Sphinx reads all of it."""

import importlib
import subprocess
import sys
from pathlib import Path

from mpibatch.guide import CHAPTERS

ROOT = Path(__file__).parents[1]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    sources, site = tmp_path / "sources", tmp_path / "site"
    subprocess.run([sys.executable, ROOT / "scripts" / "_docs.py", sources], check=True, timeout=60)
    pages = {page.stem: page.read_text() for page in (sources / "reference").glob("*.rst")}
    for package in ("filters", "measure", "segment"):
        for name in importlib.import_module(f"mpibatch.{package}").__all__:
            assert (
                any(
                    f":: mpibatch.{package}.{name}\n" in page or f":: mpibatch.{name}\n" in page
                    for page in pages.values()
                )
                or name == "MODULES"
            )
    assert {page.stem for page in (sources / "guide").glob("*.md")} == {*CHAPTERS, "index"}
    # What needs no theme: all is parsed and referred to, and nothing written.
    build = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "dummy",
            "-c",
            ROOT / "scripts" / "docs",
            sources,
            site,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert build.returncode == 0, build.stderr
