"""What must hold of what is written: one list of checks, exceptions that are needed, a changelog in shape."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from scripts._runner.checks import CHECKS

REPOSITORY = Path(__file__).resolve().parent.parent
RUFF = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
WATCHED = ("C901", "FBT", "PLR0913")  # rules that came when much was written already


def test_what_is_checked_before_a_commit_is_what_the_runner_checks() -> None:
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    before_commits = [hook for hook in repository["hooks"] if "stages" not in hook]
    assert [hook["name"] for hook in before_commits] == [check.name for check in CHECKS]
    for hook in before_commits:
        words = hook["entry"].replace('"', "").split(maxsplit=3)
        assert words == [".venv/bin/python", "-m", "scripts._runner.checks", hook["name"]]


def test_a_check_that_finds_something_fails() -> None:
    known = "import sys; from scripts._runner import checks; checks.CHECKS = [checks.Check('x', ('false',))]; "
    done = subprocess.run([sys.executable, "-c", known + "sys.exit(checks.status_of(checks.CHECKS[0]))"], check=False)
    assert done.returncode == 1


def files_of(pattern: str) -> set[str]:
    """The files that a pattern of ruff's names, for each of its alternatives."""
    braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
    names = [braces[1] + choice + braces[3] for choice in braces[2].split(",")] if braces else [pattern]
    found = {name: list(REPOSITORY.glob(name)) for name in names}
    assert all(found.values()), f"names no file: {[name for name in names if not found[name]]}"
    return {str(path.relative_to(REPOSITORY)) for paths in found.values() for path in paths}


def test_exceptions_are_needed() -> None:
    """So that the lists in pyproject.toml grow shorter: whoever mends a file strikes it out."""
    ruff = [sys.executable, "-m", "ruff", "check", "--config", "lint.per-file-ignores={}", "--output-format=json"]
    done = subprocess.run(
        [*ruff, "--select", ",".join(WATCHED), "."], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    hits = {(str(Path(hit["filename"]).relative_to(REPOSITORY)), hit["code"]) for hit in json.loads(done.stdout)}
    needed = {rule: {file for file, code in hits if code.startswith(rule)} for rule in WATCHED}
    idle = []
    for pattern, rules in RUFF["per-file-ignores"].items():
        for rule in set(rules) & set(WATCHED):
            files = files_of(pattern)
            idle += [f"{rule}: {file}" for file in sorted(files - needed[rule]) if "*" not in pattern]
            assert files & needed[rule], f"{pattern} needs no exception from {rule}"
    assert not idle, "strike out in pyproject.toml"


def test_the_changelog_has_its_sections() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions[0].startswith("Unreleased\n")
    order = ["Added", "Changed", "Fixed", "Performance", "First version"]
    for version in versions:
        sections = re.findall(r"^### (.+)$", version, flags=re.MULTILINE)
        assert sections == [name for name in order if name in sections], "sections: each once, in this order"
        for section in re.split(r"^### .+\n", version, flags=re.MULTILINE)[1:]:
            for entry in re.split(r"^- ", section.strip(), flags=re.MULTILINE)[1:]:
                assert re.search(r"[.:;]\s*$", entry), f"an entry is a sentence: {entry!r}"
