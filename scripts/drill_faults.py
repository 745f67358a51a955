#!/usr/bin/env python3
"""Let system calls fail under small jobs, and see that each says so, and that nothing is lost.

    scripts/drill_faults.py                        # every job, every fault, on 1 and 2 ranks
    scripts/drill_faults.py --sample 12 --seed 3   # some of them
    scripts/drill_faults.py --only packed/write    # cases whose name contains this
    scripts/drill_faults.py --list

A library that is loaded before all others (`_faults.c`, compiled by $CC or cc) lets one kind of call fail on the files
of one folder, at its first or a later turn, on one rank. Every run must end within a minute, by itself, and either

- with exit code 0: then its files verify, and hold what a run without faults writes; or
- with exit code 1, and an error of three parts: the path, the reason that the system gave, and what to do; no
  traceback and no words of HDF5's alone. What was there before still verifies, and nothing half-written does.

One JSON object a line; the last is the summary. Exit code 1 if a run did otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60
HERE = Path(__file__).parent
REASONS = {5: "Input/output error", 28: "No space left on device", 122: "Disk quota exceeded", 13: "Permission denied"}
WRITING = ("create", "write", "ftruncate", "fsync", "close", "rename", "link", "flock", "read", "mkdir", "unlink")
READING = ("open", "read", "close")


@dataclass(frozen=True)
class Case:
    """Which call fails, how, from which turn on, on which rank, in which job, on how many ranks."""

    job: str
    call: str
    error: int  # 0: reads and writes come short
    turn: int
    ranks: int
    rank: int

    @property
    def name(self) -> str:
        """For `--only`."""
        how = {0: "short", 5: "EIO", 28: "ENOSPC", 122: "EDQUOT", 13: "EACCES"}[self.error]
        return f"{self.job}/{self.call}/{how}/{self.turn}/{self.ranks}ranks/rank{self.rank}"


def main() -> int:
    """Run the drill and print what was seen as JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, help="run so many cases, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--list", action="store_true", help="print the cases' names")
    parser.add_argument("--live", nargs=2, metavar=("JOB", "FOLDER"), help=argparse.SUPPRESS)  # be one run
    args = parser.parse_args()
    if args.live:
        return _live(args.live[0], Path(args.live[1]))
    cases = [case for case in all_cases() if args.only in case.name]
    if args.sample:
        cases = random.Random(args.seed).sample(cases, min(args.sample, len(cases)))
    if args.list:
        print(*(case.name for case in cases), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name).resolve()
        library = folder / "faults.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        source = HERE / "_faults.c"
        subprocess.run([*compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        references = {job: _reference(folder, job) for job in JOBS if any(case.job == job for case in cases)}
        wrong = 0
        outcomes = {"survived": 0, "refused": 0}
        for case in cases:
            outcome, problems, words = _run(folder, library, case, references[case.job])
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if problems:
                wrong += 1
                print(json.dumps({"case": case.name, **asdict(case), "problems": problems, "words": words}), flush=True)
    print(json.dumps({"cases": len(cases), **outcomes, "wrong": wrong}))
    return 1 if wrong or not cases else 0


def all_cases() -> list[Case]:
    """Every fault that makes sense for every job."""
    cases = []
    for job, (_, calls) in JOBS.items():
        for call in calls:
            errors = (28, 122, 5, 0) if call == "write" else (5, 0) if call == "read" else (5,)
            errors = (
                (28,) if call in ("ftruncate", "mkdir") else (13,) if call in ("create", "open", "link") else errors
            )
            for error in errors:
                for turn in (1, 4) if call in ("write", "read", "close", "fsync", "create", "open") else (1,):
                    for ranks, rank in ((1, 0), (2, 0), (2, 1)):
                        cases.append(Case(job, call, error, turn, ranks, rank))
    return cases


def _command(ranks: int, job: str, place: Path) -> list[str]:
    launcher = Path(sys.executable).parent / "mpiexec"
    command = [sys.executable, __file__, "--live", job, str(place)]
    return command if ranks == 1 else [str(launcher), "-n", str(ranks), *command]


def _reference(folder: Path, job: str) -> dict[str, str]:
    """Make what the job finds, run it without faults, and return what it leaves."""
    start, place = folder / f"{job}-start", folder / "work"
    start.mkdir()
    subprocess.run(_command(1, "prepare", start), check=True, timeout=SECONDS)
    shutil.copytree(start, place)
    subprocess.run(_command(2, job, place), check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
    contents = _contents(place)
    shutil.rmtree(place)
    return contents


def _contents(place: Path) -> dict[str, str]:
    """What lies there under its final name, by its digests; each file verified."""
    from mpibatch.io import verify

    found = {}
    for path in sorted(p for p in place.rglob("*") if p.is_file() and not p.name.endswith((".part", ".lock", ".log"))):
        if path.suffix == ".h5":
            try:
                report = verify(str(path))
            except Exception as error:  # not even that can be said
                found[str(path.relative_to(place))] = f"BROKEN: {error}"
                continue
            broken = ", ".join(map(str, report.broken))
            found[str(path.relative_to(place))] = f"BROKEN: {broken}" if broken else report.content
        elif path.suffix == ".csv":
            found[str(path.relative_to(place))] = path.read_text()
    return found


def _run(folder: Path, library: Path, case: Case, reference: dict[str, str]) -> tuple[str, list[str], str]:
    place = folder / "work"
    shutil.copytree(folder / f"{case.job}-start", place)
    try:
        fault = f"{case.call}:{case.error}:{case.turn}:{place}:{case.rank}"
        environment = {**os.environ, "FAULT": fault, "LD_PRELOAD": str(library), "MPIBATCH_PATIENCE": "20"}
        try:
            run = subprocess.run(
                _command(case.ranks, case.job, place),
                env=environment,
                capture_output=True,
                check=False,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            return "hung", ["hung"], str(error.stderr or "")[-2000:]
        words = run.stdout + run.stderr
        problems = [] if case.error else ["it noticed what it should have completed"] * (run.returncode != 0)
        there = _contents(place)
        problems += [f"{name} is {state}" for name, state in there.items() if state.startswith("BROKEN")]
        if run.returncode == 0:
            wrong = [name for name, state in reference.items() if there.get(name) != state]
            problems += [f"exit code 0, but {name} is {there.get(name)}" for name in wrong]
        elif run.returncode != 1:
            problems.append(f"exit code {run.returncode}")
        else:
            problems += _problems_of(words, case, place)
        return "survived" if run.returncode == 0 else "refused", problems, words[-3000:] if problems else ""
    finally:
        shutil.rmtree(place)


def _problems_of(words: str, case: Case, place: Path) -> list[str]:
    problems = []
    if "Traceback" in words:
        problems.append("a traceback")
    if not any(str(path.relative_to(place)) in words for path in _named(case.job, place)):
        problems.append("no path")
    # What a reader can do about it stands behind the reason.
    message = re.search(rf"{REASONS[case.error]}(.*)", words) if case.error else None
    if case.error and message is None:
        problems.append("no reason")
    elif message is not None and not re.search(r"[;:] [a-z].{12,}", message[1]):
        problems.append("no remedy")
    if re.search(r"damaged|incomplete", words):
        problems.append("calls a sound file damaged")
    return problems


def _named(job: str, place: Path) -> list[Path]:
    """What a message of the job may be about."""
    names = {"simulate": ("series.h5", "rows.csv", "checkpoints"), "job": ("job.toml", "plain.h5", "out.h5")}
    return [place / name for name in names.get(job, ("plain.h5", "packed.h5", "out.h5"))]


def _live(job: str, place: Path) -> int:
    """Be the job, and let it end as a command does: with one message and an exit code."""
    from mpibatch.base.errors import MpibatchError

    try:
        JOBS[job][0](place)
    except MpibatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _prepare(place: Path) -> None:
    import numpy as np

    import mpibatch as mb

    grid = mb.Grid((64, 96))
    u = grid.from_function(lambda y, x: np.sin(y) + x)
    mb.save(place / "out.h5", u=u * 2)
    mb.save(place / "plain.h5", u=u)
    mb.save(place / "packed.h5", u=u, chunks=(16, 16), compression="gzip")
    (place / "job.toml").write_text(
        '[input]\npath = "plain.h5"\ndataset = "u"\n\n[[step]]\nfilter = "gaussian_filter"\nsigma = 1\n\n'
        '[output]\npath = "out.h5"\n'
    )


def _save(place: Path) -> None:
    import numpy as np

    import mpibatch as mb

    grid = mb.Grid((64, 96))
    mb.save(place / "out.h5", u=grid.from_function(lambda y, x: np.sin(y) + x))


def _packed(place: Path) -> None:
    import numpy as np

    import mpibatch as mb

    grid = mb.Grid((64, 96))
    u = grid.from_function(lambda y, x: np.sin(y) + x)
    mb.save(place / "out.h5", u=u, chunks=(16, 16), compression="gzip")


def _load(place: Path) -> None:
    import mpibatch as mb

    for name in ("plain.h5", "packed.h5"):
        print(mb.sum(mb.load(place / name, "u")))


def _simulate(place: Path) -> None:
    import mpibatch as mb

    grid = mb.Grid((32, 48), periodic=True)
    u = grid.from_function(lambda y, x: y * 0.01 + x, halo=1)
    heat = mb.stencil(_heat)
    checkpoints = mb.Checkpoints(place / "checkpoints", every_steps=4)
    with mb.Simulation(
        steps=12,
        every_steps=3,
        output=str(place / "series.h5"),
        diagnostics=str(place / "rows.csv"),
        checkpoints=checkpoints,
    ) as run:
        state = {"u": u}
        for _ in run.steps(state, 1.0, diagnostics=lambda now: {"sum": mb.sum(now["u"])}):
            state["u"] = heat(state["u"], k=0.1)


def _heat(u, k):  # type: ignore[no-untyped-def]
    return u[0, 0] + k * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4.0 * u[0, 0])


def _job(place: Path) -> None:
    from mpibatch.cli import main as command

    os.chdir(place)
    sys.exit(command(["run", str(place / "job.toml")]))


JOBS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "save": (_save, WRITING),
    "packed": (_packed, WRITING),
    "load": (_load, READING),
    "simulate": (_simulate, WRITING),
    "job": (_job, (*WRITING, "open")),
}


if __name__ == "__main__":
    if sys.argv[1:3] == ["--live", "prepare"]:
        _prepare(Path(sys.argv[3]))
        sys.exit(0)
    sys.exit(main())
