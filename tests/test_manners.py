"""MPI manners, seen from outside: what fails on one rank ends the job, and nothing is left behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]
RANKS = 3

ALONE = "import mpibatch as mb\nfrom mpibatch.mpi import MPI, agreed\ncomm = MPI.COMM_WORLD\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("if comm.rank == 1:\n    raise KeyError('only here')\ncomm.Barrier()\n", id="main"),
        pytest.param(
            "import threading\n"
            "def fail():\n    raise KeyError('only here')\n"
            "if comm.rank == 1:\n    threading.Thread(target=fail).start()\n"
            "comm.Barrier()\ncomm.recv(source=comm.rank)\n",
            id="thread",
        ),
        pytest.param("import pathlib\nif comm.rank == 1:\n    1 + {}['only here']\ncomm.Barrier()\n", id="lookup"),
    ],
)
def test_an_uncaught_exception_on_one_rank_ends_the_job(launch: Launch, text: str) -> None:
    begin = time.monotonic()
    done = launch(RANKS, "-c", ALONE + text)
    assert done.returncode != 0
    assert time.monotonic() - begin < 20
    assert done.stderr.count("KeyError: 'only here'") == 1
    assert "rank 1: uncaught exception, aborting all 3 ranks" in done.stderr


def test_one_rank_alone_is_not_aborted(launch: Launch) -> None:
    done = launch(1, "-c", ALONE + "raise KeyError('only here')\n")
    assert done.returncode == 1
    assert "uncaught exception" not in done.stderr


AGREED = """
for kind in (OSError, mb.UsageError, ZeroDivisionError):
    try:
        with agreed(comm, "reading"):
            if comm.rank == 2:
                raise kind("broken")
        print("no error")
    except mb.MpibatchError as error:
        print(f"<{type(error).__name__}: {error}>")
with agreed(comm, "nothing"):
    pass
"""


def test_ranks_agree_on_an_error_of_one(launch: Launch) -> None:
    done = launch(RANKS, "-c", ALONE + AGREED)
    assert done.returncode == 0, done.stderr
    for message in (
        "<RunError: reading: broken (on rank 2 of 3)>",
        "<UsageError: broken (on rank 2 of 3)>",
        "<RunError: reading: ZeroDivisionError: broken (on rank 2 of 3)>",
    ):
        assert done.stdout.count(message) == RANKS
    assert "no error" not in done.stdout


TIDY = """
grids = [mb.Grid((12, 12)) for _ in range(5)]
grids.append(mb.Grid((12, 12), comm=comm.Create_cart((1, comm.size))))
fields = [grid.zeros(halo=2, components=(2,)) for grid in grids]
for u in fields:
    for mode in ("wrap", "reflect", None):
        mb.exchange(u, mode=mode)
        mb.exchange(u, mode=mode, corners=False)
print("comms", len({id(grid.comm) for grid in grids}), all(g.comm.Get_topology() == MPI.UNDEFINED for g in grids))
"""


def test_communicators_and_requests_are_freed_at_exit(launch: Launch) -> None:
    done = launch(RANKS, "-c", ALONE + TIDY)
    assert done.returncode == 0
    assert done.stdout.count("comms 2 True") == RANKS
    # MPICH prints a line per handle that is left at finalize.
    assert done.stderr == ""


def test_importing_the_package_loads_neither_mpi_nor_numba(launch: Launch) -> None:
    text = "import sys, mpibatch; print([m for m in ('mpi4py.MPI', 'numba', 'h5py', 'numpy') if m in sys.modules])"
    assert launch(0, "-c", text).stdout.strip() == "[]"
