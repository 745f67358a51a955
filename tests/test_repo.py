"""The repository as a whole: what is shipped, and what text must not contain."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def text_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("needs git and a checkout: these tests read the files that git knows")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [REPOSITORY / name for name in names if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def test_the_package_is_typed() -> None:
    assert (REPOSITORY / "mpibatch" / "py.typed").exists()


def test_top_level_is_the_agreed_one() -> None:
    agreed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "mpibatch",
        "tests",
        "scripts",
        "slurm",
        "CITATION.cff",
    }
    found = {path.relative_to(REPOSITORY).parts[0] for path in text_files()}
    assert {name for name in found if not name.startswith(".")} <= agreed


def test_no_place_of_one_machine_is_named() -> None:
    place = re.compile(r"(?<![\w.<])/(?:home|root|work|Users)/\w")
    hits = [
        f"{path.relative_to(REPOSITORY)}:{number}"
        for path in text_files()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if place.search(line)
    ]
    assert not hits


def test_scripts_can_be_run() -> None:
    for path in [REPOSITORY / ".ci" / "run", *(REPOSITORY / "scripts").glob("*.sh")]:
        is_sourced = path.name.startswith("_")
        assert is_sourced or path.stat().st_mode & 0o111, f"chmod +x {path.name}"
        subprocess.run(["bash", "-n", str(path)], check=True)
