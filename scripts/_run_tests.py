"""What scripts/test.sh runs inside its virtual environment: checks, unit tests, MPI tests, one summary."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# At the limit mpiexec passes this on to the ranks, and faulthandler writes their stacks (tests/lockstep.py).
DUMP_SIGNAL = signal.SIGUSR1
DUMP_SECONDS = 2.0
END_SECONDS = 10.0

# One thread a rank: six ranks with a pool each would only fight over two cores. And what iterates over a set
# must do so in the same order on all ranks.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MPIBATCH_CACHE_DIR": str(REPOSITORY / ".cache" / "mpibatch"),
}


@dataclass
class Results:
    """What all runs together have shown."""

    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("passed", "failed", "skipped"), 0))
    not_run: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # reason: tests
    too_few_ranks: dict[str, int] = field(default_factory=dict)
    executed: set[str] = field(default_factory=set)

    def add(self, name: str, seconds: float, status: str, tally: Path | None = None) -> None:
        """Take in one step; `status` is empty if it ended well. A failed step counts as one failure at least."""
        outcomes: dict[str, str] = {}
        if tally is not None and tally.exists():
            told = json.loads(tally.read_text())
            outcomes = told["outcomes"]
            self.too_few_ranks |= told["too_few_ranks"]
            for test, reason in told["reasons"].items():
                self.not_run[reason.removeprefix("Skipped: ")].add(test)
        self.executed |= {test for test, outcome in outcomes.items() if outcome != "skipped"}
        here = {kind: sum(outcome == kind for outcome in outcomes.values()) for kind in self.counts}
        if status and not here["failed"]:
            here["failed"] = 1
        if tally is not None or status:
            for kind, number in here.items():
                self.counts[kind] += number
        numbers = ", ".join(f"{number} {kind}" for kind, number in here.items()) if outcomes else ""
        numbers = "no test selected" if tally is not None and not outcomes and not status else numbers
        self.lines.append(
            f"{name:<22} {seconds:6.1f} s  {'FAILED: ' + status if status else 'ok':<8}  {numbers}".rstrip()
        )


def launcher() -> list[str]:
    """Return the command that starts ranks: $MPIBATCH_MPIEXEC, or this environment's own mpiexec."""
    given = os.environ.get("MPIBATCH_MPIEXEC")
    own = Path(sys.executable).parent / "mpiexec"
    if not given and not own.exists():
        sys.exit(f"no {own}: install the extra mpich into this environment (scripts/test.sh does)")
    return shlex.split(given) if given else [str(own)]


def run(command: list[str], limit: float, scratch: Path) -> str:
    """Run `command`; return what went wrong, or "". When it is stuck it must write its stacks, and is ended."""
    # A session of its own, so that whatever is left of it can be ended without touching anything else.
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + limit
    try:
        while process.poll() is None:
            time.sleep(0.1)
            status = "a test got stuck" if (scratch / "stuck").exists() else ""
            status = f"longer than {limit:g} s" if time.monotonic() > deadline else status
            if status:
                time.sleep(DUMP_SECONDS)
                process.send_signal(DUMP_SIGNAL)
                time.sleep(DUMP_SECONDS)
                return status
        return f"exit status {process.returncode}" if process.returncode else ""
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End `process` and what it started in its session, gently first: mpiexec passes SIGTERM on to the ranks."""
    if process.poll() is not None:
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def pytest_step(name: str, ranks: int, options: argparse.Namespace, results: Results) -> None:
    """Run the tests of one kind: without MPI if `ranks` is 0, else those marked `mpi` on that many ranks."""
    marks = ("mpi" if ranks else "not mpi") + (" and not slow" if options.quick else "")
    with tempfile.TemporaryDirectory(prefix="mpibatch-test-") as folder:
        scratch = Path(folder)
        tally = scratch / "tally.json"
        command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", str(REPOSITORY)]
        command += ["-q", "--durations=3", "--durations-min=5", "-m", marks]
        # Each with "=": pytest looks for conftest.py before it knows these options, and would take a value for a path.
        command += [f"--scratch={folder}", f"--tally={tally}", f"--test-limit={options.test_limit}"]
        command += ["-k", options.k] if options.k else []
        command += options.paths or ["tests"]
        if ranks:
            command = [*launcher(), "-n", str(ranks), *command, "--with-mpi"]
        begin = time.monotonic()
        status = run(command, options.run_limit, scratch)
        if status == "exit status 5":  # pytest's word for "no tests": the sum over all runs is what counts
            status = ""
        if not tally.exists():
            status = status or "ended without results"
            show_traces(scratch)
        results.add(name, time.monotonic() - begin, status, tally)


def show_traces(scratch: Path) -> None:
    """Print what the ranks left behind, less the frames of pytest itself."""
    for text in sorted(trace.read_text(errors="replace") for trace in scratch.glob("trace-*")):
        lines = [line for line in text.splitlines() if "/_pytest/" not in line and "/pluggy/" not in line]
        print("\n---- " + "\n".join(lines), file=sys.stderr, flush=True)


def checks(results: Results) -> None:
    for name, arguments in (
        ("ruff check", ["ruff", "check", "."]),
        ("ruff format", ["ruff", "format", "--check", "."]),
        ("mypy --strict", ["mypy"]),
    ):
        heading(name)
        begin = time.monotonic()
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, stdin=subprocess.DEVNULL, check=False)
        results.add(name, time.monotonic() - begin, f"exit status {done.returncode}" if done.returncode else "")


def heading(text: str) -> None:
    print(f"\n==== {text}", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/test.sh", description="Run all checks and tests.", allow_abbrev=False
    )
    parser.add_argument("paths", nargs="*", help="test files or test ids (default: all)")
    parser.add_argument("--quick", action="store_true", help="1 and 3 ranks only, and no test marked slow")
    parser.add_argument("--ranks", metavar='"1 2"', help="rank counts for the MPI tests (default: 1 2 3 4 6)")
    parser.add_argument("--only", choices=("checks", "unit", "mpi"), help="one kind of step instead of all")
    parser.add_argument("-k", metavar="EXPR", help="only tests whose names match, as in pytest")
    parser.add_argument("--test-limit", type=float, default=120.0, metavar="SECONDS", help="of one test (default: 120)")
    parser.add_argument("--run-limit", type=float, default=1200.0, metavar="SECONDS", help="of one run (default: 1200)")
    options = parser.parse_args(arguments)
    text = options.ranks or ("1 3" if options.quick else "1 2 3 4 6")
    try:
        options.ranks = [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        parser.error(f"--ranks takes rank counts such as '1 2 3', not {text!r}")
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    results = Results()
    if options.only in (None, "checks"):
        checks(results)
    if options.only in (None, "unit"):
        heading("unit tests, without MPI")
        pytest_step("unit tests", 0, options, results)
    if options.only in (None, "mpi"):
        for ranks in options.ranks:
            heading(f"MPI tests on {ranks} rank{'s' if ranks > 1 else ''}")
            pytest_step(f"MPI tests, {ranks} rank{'s' if ranks > 1 else ''}", ranks, options, results)
    return summary(results, options)


def summary(results: Results, options: argparse.Namespace) -> int:
    heading("summary")
    print("\n".join(results.lines))
    never = {test: least for test, least in results.too_few_ranks.items() if test not in results.executed}
    for reason, tests in sorted(results.not_run.items()):
        print(
            f"not run: {len(tests)} test{'s' if len(tests) > 1 else ''}: {reason}\n    " + "\n    ".join(sorted(tests))
        )
    if never:
        print(
            f"not run: needs more ranks: scripts/test.sh --ranks {max(never.values())}\n    "
            + "\n    ".join(sorted(never))
        )
    nothing = options.only != "checks" and not results.executed and not results.counts["failed"]
    if nothing:
        print("no test was executed")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**results.counts))
    return 1 if results.counts["failed"] or nothing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
