"""Ranks that part, seen from outside: every way out of one, and calls that do not meet, end the job and are named."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]
HERE = Path(__file__).resolve().parents[1] / "support"
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


# Every rank asks, rank 2 for something else; all must be told, of both, and go on together.
DIFFER = """
import numpy as np
import mpibatch as mb
comm = mb.mpi.MPI.COMM_WORLD
grid = mb.Grid((12, 12))
u = grid.from_function(lambda y, x: y + x) if hasattr(grid, "from_function") else grid.full(1.0)
odd = comm.rank == 2

@mb.stencil(backend="numpy")
def scaled(u, k):
    return k * u[0, 0] + u[0, 1]

CALLS = {
    "shape": lambda: mb.Grid((12, 13 if odd else 12)),
    "periodic": lambda: mb.Grid((12, 12), periodic=bool(odd)),
    "extremes": lambda: (mb.max if odd else mb.min)(u),
    "dtype": lambda: mb.max(grid.zeros("i8" if odd else "f8")),
    "totals": lambda: (mb.sum if odd else mb.mean)(u),
    "places": lambda: (mb.argmax if odd else mb.argmin)(u),
    "bins": lambda: mb.histogram(u, bins=10, range=(0, 2 if odd else 1)),
    "save": lambda: mb.save(f"u{int(odd)}.h5", u=u),
    "load": lambda: mb.load(f"u{int(odd)}.h5", "u"),
    "scalar": lambda: scaled(u, float(grid.rank)),
    "walls": lambda: scaled(u, 1.0, walls="wrap" if odd else "nearest"),
    "steps": lambda: mb.iterate(scaled, u, 1.0, steps=2 + odd),
}
for name, call in CALLS.items():
    try:
        call()
        print(name, "nothing", flush=True)
    except mb.UsageError as error:
        is_named = "ranks differ: rank 0 asks for" in str(error) and ", rank " in str(error)
        print(name, "told" if is_named else error, flush=True)
    comm.Barrier()
"""
CHECKED = ("scalar", "walls", "steps")  # only if asked for: a message for each


def test_calls_that_differ_between_ranks_are_told(launch: Launch, tmp_path: Path) -> None:
    program = tmp_path / "differ.py"
    program.write_text(DIFFER)
    done = launch(3, str(program), cwd=tmp_path, env={**os.environ, "MPIBATCH_CHECK": "1"})
    assert done.returncode == 0, done.stderr
    names = ("shape", "periodic", "extremes", "dtype", "totals", "places", "bins", "save", "load", *CHECKED)
    assert sorted(done.stdout.splitlines()) == sorted(f"{name} told" for name in names for _ in range(3))
    assert list(tmp_path.iterdir()) == [program]


USERS = """
import mpibatch as mb
comm = mb.mpi.MPI.COMM_WORLD

def test_fine():
    assert mb.max(mb.Grid((12,)).full(1.0)) == 1.0

def test_alone():
    assert comm.rank != 1, "only here"

def test_differs():
    mb.Grid((12 + comm.rank,))

def test_goes_on():
    assert comm.allreduce(1) == comm.size
"""
HANGS = """
def test_before_a_collective():
    assert comm.rank != 1, "before it"
    mb.Grid((12,))
"""


def test_the_plugin_keeps_a_users_tests_in_step(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "test_users.py").write_text(USERS)
    options = ("-m", "pytest", "-p", "no:cacheprovider", "--rootdir", ".", "-q", "--mpi-limit", "3")
    plugin = ("-p", "mpibatch.testing")
    done = launch(2, *options, *plugin, cwd=tmp_path)
    assert done.returncode == 1, done
    for words in ("AssertionError: only here", "UsageError: ranks differ", "1 failed, 3 passed, 1 error"):
        assert words in done.stdout, done
    assert done.stdout.count("3 passed") == 1  # rank 0 alone reports
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["mpibatch.testing"]\n')
    with (tmp_path / "test_users.py").open("a") as file:
        file.write(HANGS)
    done = launch(2, *options, "-k", "before", cwd=tmp_path)
    assert done.returncode, done
    where = "in test_before_a_collective\n"
    for words in ("AssertionError: before it", "stuck in test_users.py::test_before_a_collective", where):
        assert words in done.stderr, done
