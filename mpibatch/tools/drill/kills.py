"""Runs of a small simulation that are killed at chosen moments, looked at, and taken up again.

Every run is killed by SIGKILL (one rank, all ranks or the launcher): before, during or after one of its writes,
flushes, changes of a file's layout, seals, syncs, renames, removals, rows of diagnostics, or in a step. Then all files
under their final names must verify, nothing half-written may, and the run, taken up from what is there, must end in the
bytes of a run that nobody interrupted.

Only processes that were started here are ever killed, by their numbers: of ranks on other hosts, none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.drill.launch import end_late

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

__all__ = ["PHASES", "TARGETS", "Moment", "drawn", "kill_and_resume", "live", "reference", "results"]

MODULE = "mpibatch.tools.drill.kills"
STEPS = 24
KILLED = "killed"  # the file that rank 0 makes just before it kills
PHASES = ("before", "during", "after")
TARGETS = ("rank", "all", "launcher")
DELAY = 0.002  # seconds; "during" is so long after the beginning at most
LIMIT = 120.0  # seconds for a run
PATIENCE = 20.0  # seconds for the processes of a killed run to be gone


@dataclass(frozen=True)
class Moment:
    """The `number`-th time (from 0) that rank 0 comes to a point, and what is killed then."""

    point: str
    number: int
    phase: str
    target: str
    victim: int  # a rank
    delay: float


def kill_and_resume(
    place: Path, moment: Moment, resume_ranks: int, whole: tuple[bytes, bytes], start: Sequence[str]
) -> list[str]:
    """Kill one run, look at what it left, and take it up; return what happened, in words. AssertionError.

    `start` are the words that start the ranks; with `resume_ranks` 0 it is taken up in this process.
    """
    happened = _one(place, moment, resume_ranks, start)
    if results(place) != whole:
        raise AssertionError("the bytes are not those of the run that nobody interrupted")
    return happened


def reference(place: Path) -> tuple[Counter[str], tuple[bytes, bytes]]:
    """Run without interruption, in this process; return how often it came to each point, and the files' bytes."""
    place.mkdir()
    return _simulate(place, resume=False), results(place)


def drawn(draw: random.Random, points: Counter[str], ranks: int, target: str = "") -> Moment:
    """Return a moment by chance. Every kind of point alike: most points are steps, which are the least dangerous."""
    point = draw.choice(sorted(points))
    victim, delay = draw.randrange(ranks), draw.random() * DELAY
    count = draw.randrange(points[point])
    phase, drawn_target = draw.choice(PHASES), draw.choice(TARGETS)
    return Moment(point, count, phase, target or drawn_target, victim, delay)


def _one(place: Path, moment: Moment, resume_ranks: int, start: Sequence[str]) -> list[str]:
    """Kill one run, look at what it left, and take it up; return what happened, in words."""
    if (outcome := _start(place, moment, start)) != "killed":
        raise AssertionError(f"the run was to be killed, and {outcome}")
    _check_files(place)
    kept = len(list((place / "c").glob("step-*.h5"))) if (place / "c").is_dir() else 0
    if resume_ranks:
        if (code := _start(place, None, start)) != "ended with 0":
            raise AssertionError(f"the run could not be taken up: {code}")
    else:
        _simulate(place, resume=True)
    if (place / "c").exists() or list(place.glob("*.part")):
        raise AssertionError(f"left over: {sorted(path.name for path in place.iterdir())}")
    return [outcome, f"{kept} checkpoints found"]


def _start(place: Path, moment: Moment | None, start: Sequence[str]) -> str:
    """Run on real ranks until it ends; return how, and see that no process of it is left."""
    for name in ("pids", "launcher", KILLED):
        (place / name).unlink(missing_ok=True)
    environment = {**os.environ, "DRILL_MOMENT": json.dumps(asdict(moment)) if moment else ""}
    command = [*start, sys.executable, "-m", MODULE, str(place)]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=subprocess.PIPE) as running:
        (place / "launcher.new").write_text(str(running.pid))
        (place / "launcher.new").rename(place / "launcher")
        try:
            _, error = running.communicate(timeout=LIMIT)
        finally:
            end_late(running, place)
    _wait_for_the_end(place)
    # Without the file it has ended for another reason, which is to be told.
    is_killed = bool(running.returncode) and (place / KILLED).exists()
    for name in ("pids", "launcher", KILLED):
        (place / name).unlink(missing_ok=True)
    if is_killed:
        return "killed"
    reason = f": {error.decode(errors='replace')[-500:]}" if running.returncode else ""
    return f"ended with {running.returncode}{reason}"


def _wait_for_the_end(place: Path) -> None:
    """Wait until the ranks are gone; end those that outlive a launcher that was killed."""
    pids = json.loads((place / "pids").read_text()) if (place / "pids").exists() else []
    until = time.monotonic() + PATIENCE
    while left := [pid for pid in pids if _is_ours(pid, place)]:
        if time.monotonic() > until:
            raise AssertionError(f"processes {left} are still there")
        if time.monotonic() > until - PATIENCE / 2:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _is_ours(pid: int, place: Path) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and str(place).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _check_files(place: Path) -> None:
    """Whatever has its final name is whole; whatever has not does not pass for it."""
    from mpibatch.io.seal.verification import verify

    for path in place.rglob("*.h5"):
        if broken := verify(path).broken:
            raise AssertionError(f"{path.name} is broken: {broken[0]}")
    for path in place.rglob("*.part"):
        # Sealed and not yet renamed is whole; whatever is not must have no seal.
        report = verify(path)
        if report.broken and report.content:
            raise AssertionError(f"{path.name} has a seal, but is broken: {report.broken[0]}")


def results(place: Path) -> tuple[bytes, bytes]:
    """Return the bytes of what a run leaves. Local."""
    return (place / "out.h5").read_bytes(), (place / "rows.csv").read_bytes()


def live(place: Path) -> None:
    """Be one rank of a run that may be killed. Collective."""
    from mpibatch.mpi import MPI, private

    known = private().allgather((os.uname().nodename, os.getpid()))
    pids = [pid for node, pid in known if node == os.uname().nodename]
    is_first = MPI.COMM_WORLD.rank == 0
    text = os.environ.get("DRILL_MOMENT", "")
    moment = Moment(**json.loads(text)) if text else None
    if is_first:
        (place / "pids").write_text(json.dumps(pids))
        while not (place / "launcher").exists():
            time.sleep(0.001)
    MPI.COMM_WORLD.Barrier()

    def kill() -> None:
        assert moment is not None
        launcher = int((place / "launcher").read_text())
        (place / KILLED).touch()
        victims = {"rank": [pids[moment.victim % len(pids)]], "all": pids, "launcher": [launcher]}[moment.target]
        # Itself last: it does the killing.
        for pid in sorted(victims, key=lambda pid: pid == os.getpid()):
            os.kill(pid, signal.SIGKILL)

    _simulate(place, resume=True, moment=moment if is_first else None, kill=kill)


def _simulate(
    place: Path, resume: bool, moment: Moment | None = None, kill: Callable[[], None] | None = None
) -> Counter[str]:
    """Run the simulation; return how often this rank came to each point."""
    import mpibatch as mb

    seen: Counter[str] = Counter()
    with _watched(partial(_come_to, seen, moment, kill)) as come_to:
        checkpoints = mb.Checkpoints(place / "c", every_steps=3)
        simulation = mb.Simulation(
            steps=STEPS,
            output=str(place / "out.h5"),
            every_steps=2,
            diagnostics=str(place / "rows.csv"),
            checkpoints=checkpoints,
            resume=resume,
        )
        with simulation:
            grid = simulation.grid((40, 50))
            noise = simulation.random(1)
            state = {"u": grid.from_function(lambda y, x: y * x)}
            for _ in simulation.steps(state, 1.0, diagnostics=lambda s: {"sum": mb.sum(s["u"])}):
                come_to("step", lambda: None)
                state["u"] = 0.5 * state["u"] + noise.normal(grid)
    return seen


def _come_to(
    seen: Counter[str], moment: Moment | None, kill: Callable[[], None] | None, point: str, action: Callable[[], Any]
) -> Any:
    """Do what is done at a point; if the moment is there, kill."""
    is_now = moment is not None and (point, seen[point]) == (moment.point, moment.number)
    seen[point] += 1
    if not is_now:
        return action()
    assert moment is not None
    assert kill is not None
    if moment.phase == "before":
        kill()
    elif moment.phase == "during":
        threading.Timer(moment.delay, kill).start()
    result = action()
    if moment.phase == "after":
        kill()
    return result


class _watched:
    """Lets the functions at which a run may be killed tell that they are called. A context manager."""

    def __init__(self, come_to: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._come_to = come_to
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Callable[[str, Callable[[], Any]], Any]:
        from mpibatch.io.seal import seal
        from mpibatch.io.write import series, shared_file
        from mpibatch.simulate.diagnostics import DiagnosticRows

        points = [
            ("write", shared_file, "write_field"), ("flush", shared_file, "flush"), ("layout", shared_file, "create"),
            ("layout", series, "create"), ("layout", series, "slices"), ("layout", series, "complete"),
            ("layout", series, "put_back"), ("seal", seal, "append"), ("sync", os, "fsync"),
            ("rename", Path, "replace"), ("remove", Path, "unlink"), ("row", DiagnosticRows, "_append"),
        ]  # fmt: skip
        for point, owner, name in points:
            self._watch(point, owner, name)
        return self._come_to

    def _watch(self, point: str, owner: Any, name: str) -> None:
        original, come_to = getattr(owner, name), self._come_to

        def watched(*args: Any, **options: Any) -> Any:
            return come_to(point, lambda: original(*args, **options))

        self._before.append((owner, name, original))
        setattr(owner, name, watched)

    def __exit__(self, *_: object) -> None:
        for owner, name, original in reversed(self._before):
            setattr(owner, name, original)


if __name__ == "__main__":
    live(Path(sys.argv[1]))
