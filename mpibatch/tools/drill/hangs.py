"""Jobs that hang in every way that is known, each of which must be ended in time, and name the rank at fault.

Faults, of rank 1: it leaves out a collective, calls another one, raises an exception, leaves by SystemExit, is stopped
by SIGSTOP, loops without end, also while the others load. Each must end within the supervisor's seconds + 5 after it
began (an exception and an exit within 10), with the exit code and the words that belong to it, and leave no process.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.drill.launch import own_launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpibatch.mpi.supervision import Supervision

__all__ = ["EXTRA", "FAULTS", "HUNG", "Hang", "live", "problems_of", "run"]

PROGRAM = ("-m", "mpibatch.tools.drill.hangs")
RANKS = 3
EXTRA = 5.0  # seconds beyond the supervisor's
LIMIT = 120.0  # seconds for a run that is not ended
CALL = "faulty_rank_is_at_fault"  # a function's name: the page must show it


@dataclass(frozen=True)
class Hang:
    """How a job with this fault must end: its exit code, and words on standard error; in `seconds` + EXTRA."""

    code: int
    words: tuple[str, ...]
    seconds: float | None = None  # None: the supervisor's


HUNG = 70
FAULTS = {
    "skipped": Hang(HUNG, ("rank 1 (process", "waiting for others in MPI's Barrier", CALL)),
    "mismatched": Hang(HUNG, ("rank 1 (process", "waiting for others in MPI's bcast", CALL)),
    "raise": Hang(1, ("rank 1: uncaught exception", CALL), 5.0),
    "exit": Hang(3, ("rank 1: left with exit code 3",), 5.0),
    "stop": Hang(HUNG, ("rank 1 (process", "stopped, by SIGSTOP")),
    "loop": Hang(HUNG, ("rank 1 (process", "at work, or in a loop that does not end", CALL)),
    "load": Hang(HUNG, ("rank 1 (process", "at work, or in a loop that does not end", "mpibatch's load", CALL)),
}


def problems_of(name: str, outcome: tuple[int, str, float], seconds: float) -> list[str]:
    """Return in words what was wrong with the end of a job with a fault; [] if it was as it must be. Local."""
    fault, (code, error, after) = FAULTS[name], outcome
    limit = (seconds if fault.seconds is None else fault.seconds) + EXTRA
    problems = [f"exit code {code}, not {fault.code}"] if code != fault.code else []
    problems += [f"no {words!r}" for words in fault.words if words not in error]
    problems += [f"took {after:.1f} s, more than {limit:g}"] if after > limit else []
    return problems + re.findall(r"process \d+ is left", error)


def run(
    name: str,
    seconds: float,
    folder: Path | None = None,
    *,
    start: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
) -> tuple[int, str, float]:  # fmt: skip
    """Run one job; return its exit code, standard error, and the seconds since its fault began. Local.

    `start` are the words that start the ranks, `program` those of what they run.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        command = [*(start or own_launcher(RANKS)), sys.executable, *program, name, str(seconds), str(place)]
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
        end = time.time()  # rank 1 may be on another host, whose monotonic clock began at another time
        began = float((place / "began").read_text()) if (place / "began").exists() else end
        left = _left(place, time.monotonic() + EXTRA)
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


def live(name: str, place: Path, seconds: float, work: Callable[[Any, Any, Supervision], None] | None = None) -> None:
    """Be one rank: make the fault of this name, or do other work with mpibatch and a field. Collective."""
    # The page goes into this folder, too, so that the supervisor is known by it.
    os.environ["MPIBATCH_RECORD"] = str(place / "record.json")
    import mpibatch as mb

    comm = mb.mpi.world()
    (place / f"pid-{os.getpid()}").touch()
    with mb.supervise(seconds) as supervision:
        u = mb.Grid((24, 24)).full(1.0)
        mb.max(u)
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        for child in children:
            (place / f"pid-{child}").touch()
        if work is not None:
            work(mb, u, supervision)
            return
        if comm.rank == 1:
            (place / "began").write_text(str(time.time()))
            faulty_rank_is_at_fault(comm, name)
        if name == "load":
            mb.load(place / "in.h5", "u", grid=u.grid)
        mb.max(u)


def faulty_rank_is_at_fault(comm: Any, name: str) -> None:
    """Do what rank 1 does wrong. Local."""
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


if __name__ == "__main__":
    live(sys.argv[1], Path(sys.argv[3]), float(sys.argv[2]))
