"""What scripts/test.sh runs inside its virtual environment: checks, unit tests, MPI tests, one summary.

There are two set-ups: PyPI's mpich with plain h5py, and Debian's Open MPI with h5py on parallel HDF5, which runs what
touches MPI and files, and is prepared by scripts/_openmpi.sh. What mostly needs one core goes in lanes, side by side.
The first takes parts of the unit tests, one after the other. The second prepares that set-up and runs the MPI tests on
one rank, then takes such parts too. The third has the tests on a real Slurm, which mostly wait, of either set-up. What
the second and the third print is shown when they have ended.
"""

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
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

REPOSITORY = Path(__file__).resolve().parent.parent
# At the limit mpiexec passes this on to the ranks, and faulthandler writes their stacks (mpibatch/testing.py).
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

# As root, on fewer cores than ranks, without a network: Open MPI wants to be told.
OPENMPI_ENVIRONMENT = {
    "MPI4PY_MPIABI": "openmpi",
    "MPIBATCH_MPIEXEC": "mpiexec.openmpi",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "self,vader",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_oob_tcp_if_include": "lo",
    "OMPI_MCA_plm": "isolated",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
# What depends on the MPI library or on HDF5; the rest computes the same whatever moves its bytes.
OPENMPI_FILES = ("checkpoint", "chunk", "commit", "doctor_openmpi", "drivers", "failure", "field", "halo", "io",
                 "redistribute", "reduce", "resume", "seal", "series", "verify")  # fmt: skip
NOT_POSSIBLE = 3  # exit status of scripts/_openmpi.sh where it cannot prepare anything
PARTS = 4  # of the unit tests, shared out to the first two lanes
SLOWEST = 12  # files that the summary names


@dataclass(frozen=True)
class Setup:
    """A Python with an MPI library, and what its tests are."""

    name: str
    python: str
    environment: dict[str, str]
    ranks: tuple[int, ...]
    paths: tuple[str, ...] = ("tests",)


def setup_mpich() -> Setup:
    return Setup("mpich", sys.executable, ENVIRONMENT, (1, 2, 3, 4, 6))


def setup_openmpi() -> Setup:
    found = sorted(
        {str(p.relative_to(REPOSITORY)) for w in OPENMPI_FILES for p in REPOSITORY.glob(f"tests/**/test_{w}*.py")}
    )
    python = REPOSITORY / ".venv-openmpi" / "bin" / "python"
    return Setup("openmpi", str(python), ENVIRONMENT | OPENMPI_ENVIRONMENT, (2, 3), tuple(found))


@dataclass(frozen=True)
class Part:
    """Some of the unit tests: those with these marks in these files."""

    name: str
    marks: str = "not mpi"
    paths: Sequence[str] = ()


OPENMPI_ON_SLURM = Part("unit tests on Slurm", "not mpi and slurm and mpio", ("tests/tools/test_slurm_openmpi.py",))


@dataclass
class Results:
    """What all runs together have shown."""

    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("passed", "failed", "skipped"), 0))
    not_run: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # reason: tests
    too_few_ranks: dict[str, int] = field(default_factory=dict)
    executed: set[str] = field(default_factory=set)
    seconds: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # by file and step
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, seconds: float, status: str, tally: Path | None = None) -> None:
        """Take in one step; `status` is empty if it ended well. A failed step counts as one failure at least."""
        with self._lock:
            self._add(name, seconds, status, tally)

    def _add(self, name: str, seconds: float, status: str, tally: Path | None) -> None:
        outcomes: dict[str, str] = {}
        if tally is not None and tally.exists():
            told = json.loads(tally.read_text())
            outcomes = told["outcomes"]
            self.too_few_ranks |= told["too_few_ranks"]
            for file, spent in told["seconds"].items():
                self.seconds[file][name] = spent
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
            f"{name:<32} {seconds:6.1f} s  {'FAILED: ' + status if status else 'ok':<8}  {numbers}".rstrip()
        )


def patience(ranks: int) -> dict[str, str]:
    """Return what makes MPICH's ranks sleep while they wait, where there are more than cores.

    They yield anyway, but Linux then comes back to them before all others have had a turn: six ranks on two cores took
    three times as long in time loops.
    """
    return {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"} if ranks > (os.cpu_count() or 1) else {}


def launcher(setup: Setup) -> list[str]:
    """Return the command that starts ranks: $MPIBATCH_MPIEXEC, or the environment's own mpiexec."""
    given = (os.environ | setup.environment).get("MPIBATCH_MPIEXEC")
    own = Path(setup.python).parent / "mpiexec"
    if not given and not own.exists():
        sys.exit(f"no {own}: install the extra mpich into this environment (scripts/test.sh does)")
    return shlex.split(given) if given else [str(own)]


interrupted = threading.Event()


def run(command: list[str], environment: dict[str, str], limit: float, scratch: Path, out: TextIO | None) -> str:
    """Run `command`; return what went wrong, or "". When it is stuck it must write its stacks, and is ended."""
    # A session of its own, so that whatever is left of it can be ended without touching anything else.
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | environment, stdin=subprocess.DEVNULL, start_new_session=True,
        stdout=out, stderr=out and subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + limit
    try:
        while process.poll() is None:
            time.sleep(0.1)
            status = "a test got stuck" if (scratch / "stuck").exists() else ""
            status = f"longer than {limit:g} s" if time.monotonic() > deadline else status
            if interrupted.is_set():
                return "interrupted"
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


def pytest_step(
    setup: Setup, ranks: int, options: argparse.Namespace, results: Results, out: TextIO | None = None,
    part: Part | None = None,
) -> None:  # fmt: skip
    """Run the tests of one kind: those marked `mpi` on so many ranks, or a part of the others, without MPI."""
    name = f"{setup.name}: " + (part.name if part else f"MPI tests, {ranks} rank{'s' if ranks > 1 else ''}")
    heading(name, out)
    marks = part.marks if part else "mpi"
    marks += " and not slow" if options.quick else ""
    with tempfile.TemporaryDirectory(prefix="mpibatch-test-") as folder:
        scratch = Path(folder)
        tally = scratch / "tally.json"
        command = [setup.python, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", str(REPOSITORY)]
        command += ["-q", "--durations=3", "--durations-min=5", "-m", marks]
        # Open MPI gives rank 0 a terminal of its own.
        command += [f"--color={'yes' if out is None and sys.stdout.isatty() else 'no'}"]
        # Each with "=": pytest looks for conftest.py before it knows these options, and would take a value for a path.
        command += [f"--scratch={folder}", f"--tally={tally}", f"--test-limit={options.test_limit}"]
        command += ["-k", options.k] if options.k else []
        command += options.paths or (part.paths if part else ()) or setup.paths
        if ranks:
            command = [*launcher(setup), "-n", str(ranks), *command, "--with-mpi"]
        begin = time.monotonic()
        status = run(command, setup.environment | patience(ranks), options.run_limit, scratch, out)
        if status == "exit status 5":  # pytest's word for "no tests": the sum over all runs is what counts
            status = ""
        if not tally.exists():
            status = status or "ended without results"
            show_traces(scratch, out or sys.stderr)
        results.add(name, time.monotonic() - begin, status, tally)


def unit_parts(options: argparse.Namespace) -> list[Part]:
    """Return the parts of the unit tests, files dealt out in turn; not of these those on a real Slurm, if all run."""
    if options.paths or options.k:
        return [Part("unit tests")]
    files = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("tests/**/test_*.py"))
    return [
        Part(f"unit tests, part {n + 1} of {PARTS}", "not mpi and not slurm", files[n::PARTS]) for n in range(PARTS)
    ]


def show_traces(scratch: Path, out: TextIO) -> None:
    """Print what the ranks left behind, less the frames of pytest itself."""
    for text in sorted(trace.read_text(errors="replace") for trace in scratch.glob("trace-*")):
        lines = [line for line in text.splitlines() if "/_pytest/" not in line and "/pluggy/" not in line]
        print("\n---- " + "\n".join(lines), file=out, flush=True)


def prepare_openmpi(options: argparse.Namespace, results: Results, out: TextIO | None = None) -> bool:
    """Make the second set-up, and return whether it is there; say why not if this machine cannot have it."""
    heading("openmpi: prepare", out)
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        status = run(["bash", "scripts/_openmpi.sh"], {}, options.run_limit, Path(os.devnull), told)
        told.seek(0)
        text = told.read()
    print(text, end="", file=out, flush=True)
    if status == f"exit status {NOT_POSSIBLE}":
        reason = text.strip().splitlines()[-1]
        results.not_run[f"the set-up openmpi (Open MPI, h5py with parallel HDF5) cannot be made here: {reason}"].add(
            "all its tests: scripts/test.sh --setup openmpi"
        )
        # Who asks for it by name must not take its absence for a success.
        status = "not possible here" if options.setup == "openmpi" else ""
        results.add("openmpi: NOT RUN", time.monotonic() - begin, status)
        return False
    results.add("openmpi: prepare", time.monotonic() - begin, status)
    return not status


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


def heading(text: str, out: TextIO | None = None) -> None:
    print(f"\n==== {text}", file=out, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/test.sh", description="Run all checks and tests.", allow_abbrev=False
    )
    parser.add_argument("paths", nargs="*", help="test files or test ids (default: all)")
    parser.add_argument("--quick", action="store_true", help="1 and 3 ranks only, and no test marked slow")
    parser.add_argument(
        "--ranks", metavar='"1 2"', help="rank counts for the MPI tests (default: 1 2 3 4 6; openmpi: 2 3)"
    )
    parser.add_argument(
        "--setup",
        choices=("mpich", "openmpi", "all"),
        help="PyPI's mpich; or Debian's Open MPI and h5py with parallel HDF5, which are installed if need be and if "
        "possible (default: all; mpich for --quick, --only, -k, or given paths)",
    )
    parser.add_argument(
        "--only", choices=("checks", "tests", "unit", "mpi"), help="one kind of step (tests: two) instead of all"
    )
    parser.add_argument("-k", metavar="EXPR", help="only tests whose names match, as in pytest")
    parser.add_argument("--test-limit", type=float, default=120.0, metavar="SECONDS", help="of one test (default: 120)")
    parser.add_argument("--run-limit", type=float, default=1200.0, metavar="SECONDS", help="of one run (default: 1200)")
    options = parser.parse_args(arguments)
    if options.setup is None:
        options.setup = "mpich" if options.quick or options.only or options.k or options.paths else "all"
    text = options.ranks or ("1 3" if options.quick else "")
    try:
        options.ranks = [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        parser.error(f"--ranks takes rank counts such as '1 2 3', not {text!r}")
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    results = Results()
    mpich, openmpi = setup_mpich(), setup_openmpi()
    wants = {name for name in ("mpich", "openmpi") if options.setup in (name, "all")}
    units, ranks = options.only in (None, "tests", "unit"), options.only in (None, "tests", "mpi")
    mpich_ranks = list(options.ranks or mpich.ranks) if ranks and "mpich" in wants else []
    ready = []
    parts = unit_parts(options) if units and "mpich" in wants else []
    waiting = deque((mpich, part) for part in parts)  # what one of the first two lanes does next
    are_three, is_settled = len(parts) > 1, threading.Event()  # the latter: whether `openmpi` will be ready

    def go_on(out: TextIO | None) -> None:
        while True:
            try:
                setup, part = waiting.popleft()
            except IndexError:
                return
            pytest_step(setup, 0, options, results, out, part)

    def second_lane(out: TextIO | None) -> None:
        try:
            if "openmpi" in wants and (units or ranks) and prepare_openmpi(options, results, out):
                ready.append(openmpi)
        finally:
            is_settled.set()
        if ready and units:
            waiting.append((openmpi, Part("unit tests", "not mpi and not slurm and mpio")))
            waiting.extend([] if are_three else [(openmpi, OPENMPI_ON_SLURM)])
        if 1 in mpich_ranks:
            pytest_step(mpich, 1, options, results, out)
        go_on(out)

    def third_lane(out: TextIO | None) -> None:
        pytest_step(mpich, 0, options, results, out, Part("unit tests on Slurm", "not mpi and slurm"))
        is_settled.wait()
        if ready:
            pytest_step(openmpi, 0, options, results, out, OPENMPI_ON_SLURM)

    with contextlib.ExitStack() as lanes:
        if parts:
            lanes.enter_context(beside(second_lane))
        if are_three:
            lanes.enter_context(beside(third_lane))
        if options.only in (None, "checks"):
            checks(results)
        go_on(None)
    if not parts:
        second_lane(None)
    for number in mpich_ranks:
        if number != 1:
            pytest_step(mpich, number, options, results)
    for setup in ready:
        for number in options.ranks or setup.ranks if ranks else ():
            pytest_step(setup, number, options, results)
    return summary(results, options)


@contextlib.contextmanager
def beside(lane: Callable[[TextIO | None], None]) -> Iterator[None]:
    """Run `lane` while the block runs; wait for it, and show what it printed."""
    failures: list[Exception] = []

    def work() -> None:
        try:
            lane(out)
        except Exception as error:
            failures.append(error)

    with tempfile.TemporaryFile("w+") as out:
        thread = threading.Thread(target=work, name=lane.__name__)
        thread.start()
        try:
            yield
            thread.join()
        except BaseException:
            interrupted.set()
            raise
        finally:
            thread.join()
            out.seek(0)
            print(out.read(), end="", flush=True)
    for failure in failures:
        raise failure


def summary(results: Results, options: argparse.Namespace) -> int:
    heading("summary")
    print("\n".join(results.lines))
    show_slowest(results)
    never = {test: least for test, least in results.too_few_ranks.items() if test not in results.executed}
    for reason, skipped in sorted(results.not_run.items()):
        tests = skipped - results.executed  # by another set-up, or on other ranks
        if not tests:
            continue
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


def show_slowest(results: Results) -> None:
    """Print the files that took longest, with the step that took most of each; of short runs nothing."""
    totals = {file: sum(spent.values()) for file, spent in results.seconds.items()}
    slowest = [file for file in sorted(totals, key=lambda f: -totals[f])[:SLOWEST] if totals[file] >= 5]
    if slowest:
        print("slowest files, in seconds over all steps, and the longest step:")
    for file in slowest:
        step = max(results.seconds[file], key=lambda name: results.seconds[file][name])
        print(f"    {file:<40} {totals[file]:6.1f}  {results.seconds[file][step]:6.1f} {step}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
