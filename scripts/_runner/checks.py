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


CHECKS = (
    Check("ruff check", ("ruff", "check", ".")),
    Check("ruff format", ("ruff", "format", "--check", ".")),
    Check("codespell", ("codespell",)),
    Check("shellcheck", ("shellcheck", "-x", "scripts/*.sh", ".ci/run")),
    Check("numpydoc", ("python", "-m", "pytest", "-q", "tests/test_reference.py", "-k", "not examples")),
    Check("mypy --strict", ("mypy",)),
)


def run_checks(results: Results) -> None:
    """Run all checks, one after the other."""
    for check in CHECKS:
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


if __name__ == "__main__":
    sys.exit(max(status_of(check) for check in CHECKS if check.name in sys.argv[1:]))
