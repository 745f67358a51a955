"""What must hold of what is written: one list of checks, exceptions that are needed, a changelog in shape."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import _exceptions
from scripts._runner import checks
from scripts._runner.checks import CHECKS, Check
from scripts._runner.coverage import LEAST, figures
from scripts._runner.results import Results

REPOSITORY = Path(__file__).resolve().parent.parent


def test_what_is_checked_before_a_commit_is_what_the_runner_checks() -> None:
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    before_commits = [hook for hook in repository["hooks"] if "stages" not in hook]
    assert [hook["name"] for hook in before_commits] == [check.name for check in CHECKS]
    for hook in before_commits:
        assert shlex.split(hook["entry"]) == [".venv/bin/python", "-m", "scripts._runner.checks", hook["name"]]
        assert hook["always_run"], "a check looks at all files, whichever are committed"
        assert not hook["pass_filenames"]


@pytest.mark.parametrize(
    ("names", "code"), [(["well"], 0), (["bad", "well"], 1), (["ended", "well"], 1), (["well", "other"], 1), ([], 1)]
)
def test_a_check_that_finds_something_fails(monkeypatch: pytest.MonkeyPatch, names: list[str], code: int) -> None:
    """Or one that a signal ends, or that there is not."""
    commands = {"well": ("true",), "bad": ("false",), "ended": ("bash", "-c", "kill -9 $$")}
    monkeypatch.setattr(checks, "CHECKS", [Check(name, command) for name, command in commands.items()])
    with pytest.raises(SystemExit) as end:
        checks.main(names)
    assert code == (end.value.code if isinstance(end.value.code, int) else 1)


def test_what_the_unit_tests_hold_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "status_of", lambda check: 0)
    shown = []
    for with_tests in (False, True):
        results = Results()
        checks.run_checks(results, with_tests=with_tests)
        shown.append([line.partition("  ")[0] for line in results.lines])
    assert shown[1] == [check.name for check in CHECKS]
    assert shown[0] == [name for name in shown[1] if name != "numpydoc"]


def test_exceptions_are_needed() -> None:
    """So that the lists in pyproject.toml grow shorter: whoever mends a file strikes it out."""
    needed = _exceptions.offenders()
    excepted = _exceptions.listed((REPOSITORY / "pyproject.toml").read_text())
    idle = {rule: sorted(excepted[rule] - needed[rule]) for rule in excepted}
    assert not any(idle.values()), f"run scripts/_exceptions.py: {idle}"
    assert all(excepted.values())


def test_exceptions_are_read_as_they_are_written() -> None:
    files = {"mpibatch/io/read/loader.py", "mpibatch/io/write/saver.py", "mpibatch/cli/run.py", "scripts/bench_io.py"}
    files |= {f"mpibatch/filters/some_long_name_{n}.py" for n in range(20)}
    lines = _exceptions.lines_of("FBT", files)
    assert max(map(len, lines)) <= _exceptions.WIDTH
    assert len(lines) < 9
    assert _exceptions.listed("\n".join(lines)) == {"FBT": files, "C901": set(), "PLR0913": set()}


def test_exceptions_become_fewer_and_nothing_else_changes() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    excepted = _exceptions.listed(text)
    assert _exceptions.shortened(text, excepted) == text
    assert _exceptions.shortened(text, {rule: files | {"scripts/new.py"} for rule, files in excepted.items()}) == text
    fewer = {rule: set(sorted(files)[1:]) for rule, files in excepted.items()}
    short = _exceptions.shortened(text, fewer)
    assert _exceptions.listed(short) == fewer
    others = [[line for line in each.splitlines() if not _exceptions.rule_of(line)] for each in (text, short)]
    assert others[0] == others[1]
    none = _exceptions.shortened(text, {rule: set() for rule in excepted})
    assert none.splitlines() == others[0]


def test_the_changelog_has_its_sections() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions[0].startswith("Unreleased\n")
    order = ["Added", "Changed", "Fixed", "Performance"]
    for version in versions:
        sections = re.findall(r"^### (.+)$", version, flags=re.MULTILINE)
        assert sections == [name for name in order if name in sections], "sections: each once, in this order"
        for section in re.split(r"^### .+\n", version, flags=re.MULTILINE)[1:]:
            for entry in re.split(r"^- ", section.strip(), flags=re.MULTILINE)[1:]:
                assert re.search(r"[.:;]\s*$", entry), f"an entry is a sentence: {entry!r}"


def test_processes_that_a_measured_program_starts_are_measured(tmp_path: Path) -> None:
    """Lines and branches, with the settings that the runner uses; and the summary's words of them."""
    program = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'mpibatch', '--version'], check=True)"
    (tmp_path / "program.py").write_text(program)
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "data")}
    report = tmp_path / "report.json"
    rcfile = ["--rcfile", str(REPOSITORY / "pyproject.toml")]
    # Of all files a report takes ten times as long.
    some = "--include=mpibatch/*.py,mpibatch/cli/*,mpibatch/measure/_loops/*"
    program_file = str(tmp_path / "program.py")
    for arguments in (["run", *rcfile, program_file], ["combine"], ["json", some, "-o", str(report)]):
        command = [sys.executable, "-m", "coverage", *arguments]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=100)
    measured = json.loads(report.read_text())
    assert measured["files"]["mpibatch/__main__.py"]["summary"]["covered_lines"] > 0
    assert not [name for name in measured["files"] if "/_loops/" in name]
    lines = figures(measured, "unit tests")
    assert re.fullmatch(
        r"coverage by unit tests: [\d.]+ % of lines, [\d.]+ % of branches \(not counted: .*_loops.*\); least:", lines[0]
    )
    assert len(lines) == 1 + LEAST


def test_compiled_loops_copy_cells_in_loops() -> None:
    """Numba takes 0.2 to 2 s to compile the assignment of a slice to a slice, which may fail, and 0.01 s for a loop."""
    sliced = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in sorted(REPOSITORY.glob("mpibatch/**/_loops/*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef) and any("compiled" in ast.unparse(d) for d in function.decorator_list)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Subscript) and _is_slice(target.slice) for target in node.targets)
        and isinstance(node.value, ast.Subscript)
    ]
    assert not sliced


def _is_slice(index: ast.expr) -> bool:
    return isinstance(index, ast.Slice) or (isinstance(index, ast.Tuple) and any(map(_is_slice, index.elts)))
