#!/usr/bin/env python3
"""Let jobs hang in every way that is known, and see that each is ended in time and names the rank at fault.

    scripts/drill_hangs.py                        # each fault 10 times
    scripts/drill_hangs.py --times 1 --only loop,stop --seconds 2
    scripts/drill_hangs.py --healthy 200          # healthy runs beside programs that burn the CPU: no false alarm
    scripts/drill_hangs.py --overhead             # what supervision costs a run of many short steps

Faults, of rank 1 of three: it leaves out a collective, calls another one, raises an exception, leaves by SystemExit,
is stopped by SIGSTOP, loops without end. Each must end within the supervisor's seconds + 5 after it began (an exception
and an exit within 10), with the exit code and the words that belong to it, and leave no process.

The healthy runs are in turn: many short steps; a compilation, and a write to a slow disk, that take longer than the
limit; work of Python's own that beats. The launcher is `$MPIBATCH_MPIEXEC`, else the mpiexec beside this Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RANKS = 3
EXTRA = 5.0  # seconds beyond the supervisor's
LIMIT = 120.0  # seconds for a run that is not ended
STEPS = 20_000  # of the run in which the cost is measured
CALL = "faulty_rank_is_at_fault"  # a function's name: the page must show it


@dataclass(frozen=True)
class Fault:
    """How a job with this fault must end: its exit code, and words on standard error; in `seconds` + EXTRA."""

    code: int
    words: tuple[str, ...]
    seconds: float | None = None  # None: the supervisor's


HUNG = 70
FAULTS = {
    "skipped": Fault(HUNG, ("rank 1 (process", "waiting for others in MPI's Barrier", CALL)),
    "mismatched": Fault(HUNG, ("rank 1 (process", "waiting for others in MPI's bcast", CALL)),
    "raise": Fault(1, ("rank 1: uncaught exception", CALL), 5.0),
    "exit": Fault(3, ("rank 1: left with exit code 3",), 5.0),
    "stop": Fault(HUNG, ("rank 1 (process", "stopped, by SIGSTOP")),
    "loop": Fault(HUNG, ("rank 1 (process", "at work, or in a loop that does not end", CALL)),
}
HEALTHY = ("steps", "compile", "write", "beat", "batch")


def main() -> int:
    """Run the drill and print what it found as JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", default=",".join(FAULTS), help="faults, with commas between")
    parser.add_argument("--seconds", type=float, default=4.0, help="the supervisor's limit")
    parser.add_argument("--healthy", type=int, metavar="N", help="run N healthy jobs instead")
    parser.add_argument("--overhead", action="store_true", help="measure what supervision costs instead")
    parser.add_argument("--live", nargs=2, help=argparse.SUPPRESS)  # be one rank: what it does, and a folder
    args = parser.parse_args()
    if args.live:
        return _live(args.live[0], Path(args.live[1]), args.seconds)
    begin, wrong = time.monotonic(), list[dict[str, Any]]()
    if args.overhead:
        facts = overhead()
    elif args.healthy is not None:
        facts, wrong = healthy(args.healthy, args.seconds)
    else:
        facts, wrong = faults(args.only.split(","), args.times, args.seconds)
    print(json.dumps({**facts, "wrong": wrong, "took": round(time.monotonic() - begin, 1)}, indent=2))
    return 1 if wrong else 0


def faults(names: list[str], times: int, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run each fault some times; return the seconds that each took, and what was wrong."""
    wrong: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"seconds": seconds}
    for name in names:
        fault, taken = FAULTS[name], []
        for number in range(times):
            code, error, after = run(name, seconds)
            taken.append(round(after, 2))
            limit = (seconds if fault.seconds is None else fault.seconds) + EXTRA
            problems = [f"exit code {code}"] if code != fault.code else []
            problems += [f"no {words!r}" for words in fault.words if words not in error]
            problems += [f"took {after:.1f} s"] if after > limit else []
            if problems:
                wrong.append({"fault": name, "number": number, "problems": problems, "error": error[-3000:]})
        facts[name] = {"least": min(taken), "median": statistics.median(taken), "most": max(taken)}
    return facts, wrong


def healthy(times: int, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run healthy jobs beside as many programs that burn the CPU as there are cores."""
    wrong = []
    with _burners(os.cpu_count() or 1):
        for number in range(times):
            name = HEALTHY[number % len(HEALTHY)]
            code, error, _ = run(name, seconds)
            if code or "has made progress" in error:
                wrong.append({"run": name, "number": number, "code": code, "error": error[-3000:]})
            if number % 20 == 19:
                sys.stderr.write(f"{number + 1} of {times} healthy runs, {len(wrong)} wrong\n")
    return {"healthy": times, "seconds": seconds}, wrong


def overhead() -> dict[str, Any]:
    """Measure how many phases a run of many short steps has, and what the beats of one cost; and the supervisor."""
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        code, error, _ = run("many", 600.0, Path(folder))
        if code:
            raise RuntimeError(error)
        facts: dict[str, Any] = json.loads((Path(folder) / "facts").read_text())
    facts["beats_percent"] = round(100 * facts["phases"] * facts["seconds_of_beats_of_a_phase"] / facts["seconds"], 4)
    facts["supervisor_percent"] = round(100 * facts["seconds_of_the_supervisor"] / facts["seconds"], 4)
    return facts


def run(name: str, seconds: float, folder: Path | None = None) -> tuple[int, str, float]:
    """Run one job; return its exit code, standard error, and the seconds since its fault began."""
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        own = str(Path(sys.executable).parent / "mpiexec")
        launcher = [*shlex.split(os.environ.get("MPIBATCH_MPIEXEC", own)), "-n", str(RANKS)]
        command = [*launcher, sys.executable, __file__, "--seconds", str(seconds), "--live", name, str(place)]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        # Open MPI's launchers share a folder, which one removes at its end while another begins.
        own_folder = {"OMPI_MCA_orte_tmpdir_base": str(place)}
        with subprocess.Popen(
            command, stdin=null, stdout=null, stderr=pipe, text=True, env=os.environ | own_folder
        ) as job:
            try:
                _, error = job.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                error = _ended(job, place)
        end = time.monotonic()
        began = float((place / "began").read_text()) if (place / "began").exists() else end
        left = _left(place, end + EXTRA)
        return job.returncode, error + "".join(f"\nprocess {pid} is left" for pid in left), end - began


def _ended(job: subprocess.Popen[str], place: Path) -> str:
    """End a job that does not end, its ranks first; return its standard error, as far as it comes."""
    _kill(_alive(place))
    for end in (job.terminate, job.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return job.communicate(timeout=EXTRA)[1]
    return "\nstandard error is still open"


def _alive(place: Path) -> list[int]:
    """The processes of a job that are there."""
    pids = {int(path.name.removeprefix("pid-")) for path in place.glob("pid-*")}
    return [pid for pid in pids if _is_of(pid, place)]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _left(place: Path, until: float) -> list[int]:
    """Wait for the processes of a job to be gone; return those that are not, and end them."""
    while left := _alive(place):
        if time.monotonic() > until:
            _kill(left)
            return left
        time.sleep(0.05)
    return []


def _is_of(pid: int, place: Path) -> bool:
    """Whether there is such a process, of this job: ranks and supervisors have its folder among their words."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and str(place) in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@contextlib.contextmanager
def _burners(count: int) -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _live(name: str, place: Path, seconds: float) -> int:
    """Be one rank."""
    # The page goes into this folder, too, so that the supervisor is known by it.
    os.environ["MPIBATCH_RECORD"] = str(place / "record.json")
    import mpibatch as mb

    comm = mb.mpi.MPI.COMM_WORLD
    if name == "compile":
        _compiled(1)  # loads numba
    (place / f"pid-{os.getpid()}").touch()
    with mb.supervise(seconds) as supervision:
        u = mb.Grid((24, 24)).full(1.0)
        mb.max(u)
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        for child in children:
            (place / f"pid-{child}").touch()
        if name in FAULTS:
            if comm.rank == 1:
                (place / "began").write_text(str(time.monotonic()))
                faulty_rank_is_at_fault(comm, name)
            mb.max(u)
        elif name == "many":
            facts = _many(mb, u, [int(child) for child in children])
            if comm.rank == 0:
                (place / "facts").write_text(json.dumps(facts))
        else:
            WORK[name](mb, u, place, seconds, supervision)
    return 0


def faulty_rank_is_at_fault(comm: Any, name: str) -> None:
    """Do what rank 1 does wrong."""
    if name == "skipped":
        comm.Barrier()
    elif name == "mismatched":
        comm.bcast(None, root=0)
    elif name == "raise":
        raise ValueError(CALL)
    elif name == "exit":
        raise SystemExit(3)
    elif name == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        pass


def _steps(mb: Any, u: Any, place: Path, seconds: float, supervision: Any) -> None:
    until = time.monotonic() + seconds
    while u.grid.comm.bcast(time.monotonic() < until, root=0):
        mb.exchange(u)
        u = u + mb.mean(u)


def _compile(mb: Any, u: Any, place: Path, seconds: float, supervision: Any) -> None:
    """Compile, on one rank, in numba itself, functions that nobody has compiled, for longer than the limit."""
    if u.grid.rank == 1:
        until, number = time.monotonic() + 1.5 * seconds, 1
        while time.monotonic() < until:
            number += 1
            _compiled(number)
    mb.max(u)


def _compiled(number: int) -> None:
    import numba

    body = "\n".join(f"    x = x * {n}.5 + {number}.0 if x > {n}.0 else x - {n}.25" for n in range(9))
    space: dict[str, Any] = {}
    exec(f"def long(x):\n{body}\n    return x", space)
    numba.njit(space["long"])(1.0)


def _write(mb: Any, u: Any, place: Path, seconds: float, supervision: Any) -> None:
    """Write to a disk that takes longer than the limit for one block."""
    from mpibatch.io.write import direct

    original = direct.write_field

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(1.5 * seconds)
        return original(*args, **options)

    direct.write_field = slow
    mb.save(place / "out.h5", u=u)


def _beat(mb: Any, u: Any, place: Path, seconds: float, supervision: Any) -> None:
    if u.grid.rank == 1:
        until = time.monotonic() + 1.5 * seconds
        while time.monotonic() < until:
            supervision.beat()
    mb.max(u)


def _batch(mb: Any, u: Any, place: Path, seconds: float, supervision: Any) -> None:
    """Work on short items, in which nothing of mpibatch is called, for longer than the limit."""
    mb.map_items(lambda item: time.sleep(seconds / 10), range(15 * u.grid.comm.size))


WORK: dict[str, Callable[[Any, Any, Path, float, Any], None]] = {
    "steps": _steps,
    "compile": _compile,
    "write": _write,
    "beat": _beat,
    "batch": _batch,
}


def _many(mb: Any, u: Any, children: list[int]) -> dict[str, Any]:
    """Make many short steps of few cells, as bad a case as there is; return what was measured."""
    import timeit

    from mpibatch.base import timing

    count, enter = Counter[str](), timing.phase.__enter__
    for _ in range(2):  # what is planned and compiled at the first call
        mb.exchange(u)
        mb.max(u)
    timing.phase.__enter__ = lambda self: (count.update("p"), enter(self))[1]  # type: ignore[method-assign]
    mb.exchange(u)
    mb.max(u)
    timing.phase.__enter__ = enter  # type: ignore[method-assign]
    begin = time.monotonic()
    for _ in range(STEPS):
        mb.exchange(u)
        mb.max(u)
    seconds = time.monotonic() - begin
    # What a phase does more at its beginning and its end than it would without.
    stores = "RECORD[BEAT] = now; RECORD[PHASE] = code; RECORD[PHASE] = codes[names[-1]] if names else 0.0"
    space = {**vars(timing), "now": 1.0, "code": 6.0, "codes": {"io": 6.0}, "names": ["io"]}
    often = 100_000
    cost = min(timeit.repeat(stores, number=often, repeat=5, globals=space)) / often
    ticks = 0
    for child in children:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])
    return {
        "steps": STEPS, "seconds": round(seconds, 2), "phases": STEPS * count["p"], "seconds_of_beats_of_a_phase": cost,
        "seconds_of_the_supervisor": ticks / os.sysconf("SC_CLK_TCK"),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
