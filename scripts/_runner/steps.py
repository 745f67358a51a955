"""The steps: some tests in one set-up, and the making of the second one."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from scripts._runner.coverage import COVERED, MEASURED, is_counted
from scripts._runner.processes import run
from scripts._runner.results import Results, heading
from scripts._runner.setups import REPOSITORY, Part, Setup, launcher, patience, share_of

if TYPE_CHECKING:
    import argparse

NOT_POSSIBLE = 3  # exit status of scripts/_openmpi.sh where it cannot prepare anything


def pytest_step(
    setup: Setup, ranks: int, options: argparse.Namespace, results: Results, out: TextIO | None = None,
    part: Part | None = None,
) -> None:  # fmt: skip
    """Run the tests of one kind: those marked `mpi` on so many ranks, or a part of the others, without MPI."""
    name = f"{setup.name}: " + (part.name if part else f"MPI tests, {ranks} rank{'s' if ranks > 1 else ''}")
    heading(name, out)
    with tempfile.TemporaryDirectory(prefix="mpibatch-test-") as folder:
        scratch = Path(folder)
        tally = scratch / "tally.json"
        is_covered = options.coverage and is_counted(setup, ranks)
        # Open MPI gives rank 0 a terminal of its own.
        color = "yes" if out is None and sys.stdout.isatty() else "no"
        # Each with "=": pytest looks for conftest.py before it knows these options, and would take a value for a path.
        command = [*pytest_command(setup, ranks, options, part), f"--color={color}", f"--scratch={folder}"]
        command += [f"--tally={tally}"]
        begin = time.monotonic()
        environment = setup.environment | patience(ranks) | (COVERED if is_covered else {})
        status = run(command, environment, options.run_limit, scratch, out)
        if status == "exit status 5":  # pytest's word for "no tests": the sum over all runs is what counts
            status = ""
        if not tally.exists():
            status = status or "ended without results"
            show_traces(scratch, out or sys.stderr)
        results.add(name, time.monotonic() - begin, status, tally)
        if is_covered:
            results.measured.add(ranks)


def pytest_command(setup: Setup, ranks: int, options: argparse.Namespace, part: Part | None) -> list[str]:
    """Return the command of a step, less where its results and its scratch files go."""
    is_covered = options.coverage and is_counted(setup, ranks)
    marks = part.marks if part else "mpi"
    marks += " and not slow" if options.quick else ""
    command = [setup.python, "-m", *(MEASURED if is_covered else ()), "pytest", "-c", "pyproject.toml"]
    command += ["--rootdir", str(REPOSITORY), "-q", "--durations=3", "--durations-min=5", "-m", marks]
    command += [f"--test-limit={options.test_limit}", *(["-k", options.k] if options.k else [])]
    command += options.paths or (part.paths if part else setup.mpi_paths()) or setup.paths
    # Measured is one number of ranks, for all: it runs every case.
    share = None if is_covered else share_of(setup, ranks, options)
    command += [f"--share={share}"] if share else []
    return [*launcher(setup), "-n", str(ranks), *command, "--with-mpi"] if ranks else command


def show_traces(scratch: Path, out: TextIO) -> None:
    """Print what the ranks left behind, less the frames of pytest itself."""
    for text in sorted(trace.read_text(errors="replace") for trace in scratch.glob("trace-*")):
        lines = [line for line in text.splitlines() if "/_pytest/" not in line and "/pluggy/" not in line]
        print("\n---- " + "\n".join(lines), file=out, flush=True)


def prepare_openmpi(options: argparse.Namespace, results: Results, out: TextIO | None = None) -> bool:
    """Make the second set-up, and return whether it is there; say why not if this machine cannot have it."""
    heading("openmpi: prepare", out)
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        status = run(["bash", "scripts/_openmpi.sh"], {}, options.run_limit, Path(os.devnull), output)
        output.seek(0)
        text = output.read()
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
