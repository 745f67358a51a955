#!/usr/bin/env python3
"""Let jobs hang in every way that is known, and see that each is ended in time and names the rank at fault.

    scripts/drill_hangs.py                        # each fault 10 times
    scripts/drill_hangs.py --times 1 --only loop,stop --seconds 2
    scripts/drill_hangs.py --healthy 200          # healthy runs beside programs that burn the CPU: no false alarm
    scripts/drill_hangs.py --overhead             # what supervision costs a run of many short steps

Faults, of rank 1 of three: it leaves out a collective, calls another one, raises an exception, leaves by SystemExit,
is stopped by SIGSTOP, loops without end, also while the others load. Each must end within the supervisor's seconds + 5
after it began (an exception and an exit within 10), with the exit code and words that belong to it, and leave no
process.

The healthy runs are in turn: many short steps; a compilation, and a write to a slow disk, that take longer than the
limit; work of Python's own that beats. The launcher is `$MPIBATCH_MPIEXEC`, else the mpiexec beside this Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.drill import hangs
from mpibatch.tools.drill.hangs import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = 20_000  # of the run in which the cost is measured


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
    parser.add_argument("--live", nargs=3, help=argparse.SUPPRESS)  # be one rank: what it does, seconds, a folder
    args = parser.parse_args()
    if args.live:
        return _live(args.live[0], float(args.live[1]), Path(args.live[2]))
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
        taken = []
        for number in range(times):
            outcome = run(name, seconds)
            taken.append(round(outcome[2], 2))
            if problems := hangs.problems_of(name, outcome, seconds):
                wrong.append({"fault": name, "number": number, "problems": problems, "error": outcome[1][-3000:]})
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
                sys.stderr.write(f"{json.dumps(wrong[-1])}\n")
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
    """Run one job, with a fault or healthy; return exit code, standard error, and the seconds since its fault began."""
    return hangs.run(name, seconds, folder, program=(__file__, "--live"))


@contextlib.contextmanager
def _burners(count: int) -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _live(name: str, seconds: float, place: Path) -> int:
    """Be one rank."""
    if name == "compile":
        _compiled(1)  # loads numba

    def work(mb: Any, u: Any, supervision: Any) -> None:
        if name == "many":
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            facts = _many(mb, u, [int(child) for child in children])
            if u.grid.rank == 0:
                (place / "facts").write_text(json.dumps(facts))
        else:
            WORK[name](mb, u, place, seconds, supervision)

    hangs.live(name, place, seconds, None if name in FAULTS else work)
    return 0


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
    from mpibatch.io.write import shared_file

    original = shared_file.write_field

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(1.5 * seconds)
        return original(*args, **options)

    shared_file.write_field = slow
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
