"""Which lines and branches of the package the unit tests and the MPI tests on 3 ranks go through, together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scripts._runner.results import Results, heading
from scripts._runner.setups import REPOSITORY, Setup

if TYPE_CHECKING:
    import argparse

FOLDER = REPOSITORY / ".cache" / "coverage"
STEPS = {0: "unit tests", 3: "MPI tests on 3 ranks"}  # what is measured, by its number of ranks
LEAST = 10  # files that the summary names
# Each process writes a file of its own, also those that tests start (pyproject.toml, [tool.coverage]).
COVERED = {"COVERAGE_FILE": str(FOLDER / "data")}
MEASURED = ("coverage", "run", f"--rcfile={REPOSITORY / 'pyproject.toml'}", "-m")


def is_counted(setup: Setup, ranks: int) -> bool:
    """Whether a step is one of those that are measured."""
    return setup.name == "mpich" and ranks in STEPS


def why_not(options: argparse.Namespace) -> str:
    """Return why what the options ask for has no step that is measured, or ""."""
    has_units, has_ranks = (options.only in (None, "tests", kind) for kind in ("unit", "mpi"))
    is_measured = has_units or (has_ranks and (not options.ranks or 3 in options.ranks))
    if is_measured and options.setup != "openmpi":
        return ""
    return f"--coverage measures the {' and the '.join(STEPS.values())} of mpich, and neither is to be run"


def clear_coverage() -> None:
    """Forget earlier runs."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)


def add_coverage(results: Results, *, is_whole: bool) -> None:
    """Put the measurements together, and tell the summary of them; fail where no test was run under it."""
    heading("coverage")
    if not any(FOLDER.iterdir()):
        results.add("coverage", 0.0, "nothing was measured")
        return
    report = FOLDER / "report.json"
    for arguments in (["combine", "--quiet"], ["json", "--quiet", "-o", str(report)]):
        command = [sys.executable, "-m", "coverage", *arguments]
        code = subprocess.run(command, cwd=REPOSITORY, env=os.environ | COVERED, check=False).returncode
        if code:
            results.add(f"coverage {arguments[0]}", 0.0, f"exit status {code}")
            return
    results.remarks += figures(json.loads(report.read_text()), steps_measured(results.measured, is_whole=is_whole))


def steps_measured(ranks: set[int], *, is_whole: bool) -> str:
    """Return the words for the steps on so many ranks, of which all tests were run, or some."""
    return ("" if is_whole else "some of the ") + " and ".join(STEPS[number] for number in sorted(ranks))


def figures(report: dict[str, dict[str, dict[str, dict[str, float]]]], steps: str) -> list[str]:
    """Return the lines of the summary on what these steps cover: all files together, and those with the least."""
    whole: dict[str, float] = report["totals"]  # type: ignore[assignment]
    files = {name: about["summary"] for name, about in report["files"].items() if about["summary"]["num_statements"]}
    least = sorted(files, key=lambda name: (files[name]["percent_covered"], name))[:LEAST]
    lines = [
        f"coverage by {steps}: {_percent(whole, 'lines')} of lines, "
        f"{_percent(whole, 'branches')} of branches (not counted: folders _loops, whose compiled code it cannot see); "
        "least:"
    ]
    for name in least:
        numbers = f"{_percent(files[name], 'lines')} of lines, {_percent(files[name], 'branches')} of branches"
        lines.append(f"    {Path(name).as_posix():<48} {numbers}")
    return lines


def _percent(summary: dict[str, float], kind: str) -> str:
    count = summary["num_statements" if kind == "lines" else "num_branches"]
    return f"{100 * summary[f'covered_{kind}'] / count:.1f} %" if count else "none"
