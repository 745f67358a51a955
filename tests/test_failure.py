"""Ranks that part, seen from outside: every way out of a rank, and calls that do not meet, end the job and are named."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]
HERE = Path(__file__).resolve().parent
# Open MPI's set-up runs, of the unit tests, those that have this mark.
BOTH = [pytest.param("mpich", id="any"), pytest.param("openmpi", marks=pytest.mark.mpio)]
AT_ONCE = 4
MOST_SECONDS = 30.0

LEFT, ALONE = "rank 1: left with exit code {}", "rank 1: at the end of its program (exit code 0)"
# Way: (exit code, words). A code that the launcher makes up itself is None.
WAYS: dict[str, tuple[int | None, str]] = {
    **dict.fromkeys(
        ("raise", "sys.exit", "built-in", "quit", "imported-before", "asyncio", "raised-again", "finally", "thread",
         "child"),
        (3, LEFT.format(3)),
    ),
    "words": (1, "no such thing"),
    "os._exit": (None, ""),
    **dict.fromkeys(("exit-0", "exit-none", "end", "finalize"), (1, ALONE)),
    "uncaught": (1, "KeyError: 'only here'"),
    "agreed": (1, "RunError: only here"),
    "interrupt": (130, "KeyboardInterrupt"),
}  # fmt: skip


@pytest.mark.parametrize("setup", BOTH)
def test_every_way_out_of_one_rank_ends_the_job(launch: Launch, setup: str) -> None:
    def leave(way: str) -> tuple[subprocess.CompletedProcess[str], float]:
        begin = time.monotonic()
        done = launch(2, str(HERE / "ways_out.py"), way, env={**os.environ, "MPIBATCH_PATIENCE": "1"})
        return done, time.monotonic() - begin

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(WAYS, pool.map(leave, WAYS), strict=True))
    for way, (done, seconds) in results.items():
        code, words = WAYS[way]
        assert done.returncode == code or (code is None and done.returncode), (way, done)
        assert words in done.stderr, (way, done)
        assert seconds < MOST_SECONDS, way


# What each rank calls in the second part; the first is met by all.
APART = """
import sys, time
import mpibatch as mb
comm = mb.mpi.MPI.COMM_WORLD
u = mb.Grid((12, 12)).full(1.0)
begin = time.monotonic()
if "busy" in sys.argv:
    # Rank 0 works, sleeps, and waits in MPI again and again: none of it is a standstill.
    while comm.allreduce(time.monotonic() - begin, op=mb.mpi.MPI.MAX) < 2.5:
        pass
    if comm.rank == 0:
        time.sleep(2.5)
        while time.monotonic() - begin < 7.5:
            pass
    print(mb.max(u))
else:
    for _ in range(3 - (comm.rank == 1)):
        mb.max(u)
    if comm.rank == 1:
        comm.recv(source=0)  # line 20
"""


def test_calls_that_do_not_meet_end_the_job_after_the_patience_with_the_place_of_each_rank(
    launch: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "apart.py"
    path.write_text(APART)
    environment = {**os.environ, "MPIBATCH_PATIENCE": "1"}
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(launch, 2, str(path), "busy", env=environment)
        done = launch(3, str(path), env=environment)
    assert done.returncode == 1
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert "every rank has waited for others for 1 s (MPIBATCH_PATIENCE); aborting all 3 ranks" in done.stderr
    first = next(n for n, line in enumerate(lines) if line.startswith("rank 1: "))
    assert lines[first] == f"rank 1: {path}:20, in <module>: MPI's recv"
    assert lines[first + 1] == f"ranks 0, 2: {path}:18, in <module>: mpibatch's max"
    assert (busy.result().returncode, busy.result().stdout) == (0, "1.0\n1.0\n"), busy.result().stderr


AGREED = """
import mpibatch as mb
mb.Grid((12, 12))
raise mb.UsageError("the same on all")
"""


def test_an_error_of_all_ranks_is_shown_once(launch: Launch) -> None:
    done = launch(3, "-c", AGREED)
    assert done.returncode == 1
    assert done.stderr.count("UsageError: the same on all") == 1
    assert "aborting" not in done.stderr
