"""The site of scripts/docs.sh: every chapter and public name has its place, and Sphinx reads all of it."""

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

from mpibatch.guide import CHAPTERS
from tests.test_reference import PUBLIC

ROOT = Path(__file__).parents[1]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    sources, site = tmp_path / "sources", tmp_path / "site"
    subprocess.run([sys.executable, ROOT / "scripts" / "_docs.py", sources], check=True, timeout=60)
    pages = [page.read_text() for page in (sources / "reference").glob("*.rst")]
    described = {id(resolve_name(name)) for page in pages for name in re.findall(r":: (mpibatch\.\S+)", page)}
    names = {name for name, value in PUBLIC.items() if id(value) not in described}
    assert {name for name in names if name.rpartition(".")[0] not in PUBLIC} == set()  # a class has its methods
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
