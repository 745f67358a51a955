"""A disk that is full, bits that flip in outputs, and a rank that is slow; files for `damages`.

The disk is full by RLIMIT_FSIZE, which needs no root: a write beyond it fails, as on a full disk.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.drill.launch import end_late

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["ENCRYPTED", "RECIPIENTS", "encrypted_values", "flip_bits", "full_disk", "live", "run", "slow_rank"]

MODULE = "mpibatch.tools.drill.losses"
LIMIT = 120.0  # seconds for a run
ROOM = 1 << 16  # bytes that a file may have on the full disk
STEPS, HALT = 8, 0.6  # seconds in each step
ALARM = 3.0  # seconds of the supervisor: more than a halt, less than all of them
ENCRYPTED, RECIPIENTS, ENCRYPTED_SHAPE = ("first.h5", "second.h5"), "recipients.txt", (40, 64, 64)
WAYS = {name: name for name in ("small", "large", "steps", "slow", "encrypted")}  # what a rank does


def full_disk(place: Path, start: Sequence[str]) -> list[str]:
    """Write more than there is room for; return what was wrong with the end of the run: [] if nothing. Local."""
    if problems := run("small", place, start, code=0):
        return problems
    path = place / "out.h5"
    before = path.read_bytes()
    problems = run("large", place, start, code=1, words=(str(path), "may write at most", "ulimit -f"))
    if not path.exists() or path.read_bytes() != before:
        problems.append("the file that was there before is not as it was")
    if left := sorted(other.name for other in place.iterdir() if other != path):
        problems.append(f"left over: {', '.join(left)}")
    return problems


def flip_bits(place: Path, start: Sequence[str], times: int, draw: random.Random) -> list[str]:
    """Flip bits of a file, one after the other; return in words which were not seen. Local."""
    from mpibatch.base.errors import MpibatchError
    from mpibatch.io import verify

    if problems := run("small", place, start, code=0):
        return problems
    path = place / "out.h5"
    whole = path.read_bytes()
    if broken := verify(path).broken:
        return [f"a file that nobody damaged is broken: {broken[0]}"]
    for _ in range(times):
        at, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        damaged = bytearray(whole)
        damaged[at] ^= bit
        path.write_bytes(damaged)
        try:
            is_seen = bool(verify(path).broken)
        except MpibatchError:  # it is refused as a whole
            is_seen = True
        if not is_seen:
            problems.append(f"bit {bit} of byte {at} was flipped, and verify does not see it")
    path.write_bytes(whole)
    return problems


def slow_rank(place: Path, start: Sequence[str]) -> list[str]:
    """Run with one rank that is slow, and without; return what was wrong: [] if both end with the same bytes. Local."""
    problems = run("steps", place, start, code=0)
    even = (place / "out.h5").read_bytes() if not problems else b""
    problems += run("slow", place, start, code=0)
    if not problems and (place / "out.h5").read_bytes() != even:
        problems.append("the bytes are not those of the run without a slow rank")
    return problems


def run(name: str, place: Path, start: Sequence[str], *, code: int, words: Sequence[str] = ()) -> list[str]:
    """Start ranks that do what `name` says; return what was wrong with their exit code and message. Local."""
    command = [*start, sys.executable, "-m", MODULE, WAYS[name], str(place)]
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=pipe, text=True, errors="replace") as running:
        try:
            _, error = running.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return [f"{name}: no end within {LIMIT:g} s"]
        finally:
            end_late(running, place)
    message, ended = error.strip()[-300:], running.returncode
    problems = [f"{name}: exit code {ended}, not {code}: {message}"] if ended != code else []
    return problems + [f"{name}: no {word!r} in its message: {message}" for word in words if word not in error]


def live(name: str, place: Path) -> int:
    """Be one rank, and end as a command does. Collective."""
    import mpibatch as mb

    try:
        if name in ("small", "large"):
            shape = (16, 24) if name == "small" else (256, 512)
            u = mb.Grid(shape).from_function(lambda y, x: y * x + 0.5)
            if name == "large":  # only now: MPI keeps memory that ranks share in files, too
                resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            mb.save(place / "out.h5", u=u)
            return 0
        if name == "encrypted":
            u = mb.scatter(encrypted_values(), mb.Grid(ENCRYPTED_SHAPE))
            for path in ENCRYPTED:
                options: dict[str, Any] = {"chunks": (10, 64, 64), "compression": {"labels": "gzip"}}
                mb.save(place / path, u=u, labels=u > 9, encrypt=place / RECIPIENTS, **options)
            return 0
        _step(place, is_slow=name == "slow")
    except mb.MpibatchError as error:
        if mb.mpi.world().rank == 0:
            sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def encrypted_values() -> Any:
    """Return the values in the files that are encrypted. Local."""
    import numpy as np

    return np.arange(float(np.prod(ENCRYPTED_SHAPE))).reshape(ENCRYPTED_SHAPE)


def _step(place: Path, *, is_slow: bool) -> None:
    """Make some steps, each with an exchange and a sum, with a halt on the last rank in each."""
    import mpibatch as mb

    u = mb.Grid((24, 32)).from_function(lambda y, x: y * x + 0.5)

    def one_more(u: Any) -> Any:
        return mb.filters.uniform_filter(u, 3) + mb.mean(u)

    one_more(u)  # what is loaded at the first call is no halt
    with mb.supervise(seconds=ALARM):
        for _ in range(STEPS):
            if is_slow and u.grid.rank == u.grid.size - 1:
                time.sleep(HALT)
            u = one_more(u)
    mb.save(place / "out.h5", u=u)


if __name__ == "__main__":
    # What leaves other than by this has a message already.
    sys.exit(live(sys.argv[1], Path(os.fsdecode(sys.argv[2]))))
