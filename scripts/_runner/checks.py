"""What is checked before any test runs, and by pre-commit before anything is committed: one list for both.

`python -m scripts._runner.checks NAME` runs one: so .pre-commit-config.yaml names each (tests/test_habits.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from scripts._runner.results import Results, heading
from scripts._runner.setups import REPOSITORY


@dataclass(frozen=True)
class Check:
    """A command of the environment, and what of the repository it looks at."""

    name: str
    command: tuple[str, ...]
    is_test: bool = False  # whether the unit tests, all of them, hold it, too


CHECKS = (
    Check("ruff check", ("ruff", "check", ".")),
    Check("ruff format", ("ruff", "format", "--check", ".")),
    Check("codespell", ("codespell",)),
    Check("shellcheck", ("shellcheck", "-x", "scripts/*.sh", ".ci/run")),
    Check("numpydoc", ("python", "-m", "pytest", "-q", "tests/test_reference.py", "-k", "not examples"), is_test=True),
    Check("mypy --strict", ("mypy",)),
)


def run_checks(results: Results, *, with_tests: bool) -> None:
    """Run all checks, one after the other; without `with_tests` but those that the unit tests hold."""
    for check in CHECKS:
        if check.is_test and not with_tests:
            continue
        heading(check.name)
        begin = time.monotonic()
        code = status_of(check)
        results.add(check.name, time.monotonic() - begin, f"exit status {code}" if code else "")


def status_of(check: Check) -> int:
    """Run a check, and return its exit status."""
    return subprocess.run(expanded(check.command), cwd=REPOSITORY, stdin=subprocess.DEVNULL, check=False).returncode


def expanded(command: tuple[str, ...]) -> list[str]:
    """Return the command with the environment's own program, and the files that its patterns name."""
    program = Path(sys.executable).parent / command[0]
    words = [str(program) if os.access(program, os.X_OK) else command[0]]
    for word in command[1:]:
        files = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob(word)) if "*" in word else []
        words += files or [word]
    return words


def main(names: list[str]) -> None:
    """Run the checks of these names, and end the process: with 1 if one found something, or is none."""
    known = {check.name: check for check in CHECKS}
    if not names or not set(names) <= set(known):
        sys.exit(f"give names of checks, not {names}: {', '.join(known)}")
    codes = [status_of(known[name]) for name in names]
    sys.exit(1 if any(codes) else 0)  # not the greatest: that of a check that a signal ended is negative


if __name__ == "__main__":
    main(sys.argv[1:])
