"""Runs the examples in docstrings, on any number of ranks: ``python -m tests.support.examples NAME…``.

Every rank runs all of them, so that what is collective meets; each tells what went wrong there in one write.
"""

from __future__ import annotations

import doctest
import os
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["environment", "examples"]

REPOSITORY = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """What a program needs to find this checkout, and the commands installed beside this Python."""
    binaries = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}


def examples(names: Sequence[str]) -> Iterator[doctest.DocTest]:
    """The examples of each name that has any, to be run without any names but builtins."""
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=False)
    for name in names:
        yield from finder.find(pkgutil.resolve_name(name), name, module=False, globs={})


def main(names: Sequence[str]) -> int:
    from mpibatch.mpi import MPI

    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    for test in examples(names):
        runner.run(test, out=report.append)
    rank = MPI.COMM_WORLD.rank
    if runner.failures:
        sys.stdout.write(f"rank {rank}: {runner.failures} of {runner.tries} examples failed\n{''.join(report)}")
    elif rank == 0:
        print(f"{runner.tries} examples")
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
