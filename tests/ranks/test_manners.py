"""MPI manners, seen from outside: what fails on one rank ends the job, and nothing is left behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_lone_exit_with_a_failure_ends_the_job(launch: Launch) -> None:
    begin = time.monotonic()
    text = "import sys\nfrom mpibatch.mpi import failure\nfailure.PATIENCE = 1\nif comm.rank == 1:\n    sys.exit(3)\n"
    done = launch(RANKS, "-c", ALONE + text + "comm.Barrier()\n")
    assert done.returncode == 3
    assert time.monotonic() - begin < 30
    assert "rank 1: left with exit code 3, aborting all 3 ranks" in done.stderr


LEFT = """
import sys
from mpibatch.mpi import failure
failure.PATIENCE = failure.LONG_PATIENCE = 1
u = mb.Grid((12, 12)).full(1.0)
checkpoints = None if "bare" in sys.argv else mb.Checkpoints("run.checkpoints", every_steps=2)
output = "out.h5" if "output" in sys.argv else None
with mb.Simulation(steps=5, output=output, every_steps=1, checkpoints=checkpoints) as simulation:
    for now in simulation.steps({"u": u}, dt=1.0):
        u.owned[...] += 1.0
        if now.step == 3 and comm.rank == 1:
            WHAT
"""


@pytest.mark.parametrize(
    ("what", "output", "code", "words"),
    [
        ('raise mb.UsageError("only here")', "output", 2, "UsageError: only here"),
        ('raise mb.UsageError("only here")', "none", 2, "UsageError: only here"),
        ("raise SystemExit(3)", "output", 3, "SystemExit: 3"),
        ("break", "output", 2, "the time loop was left before its end"),
        ("sys.exit(0)", "bare", 1, "SystemExit: 0"),
    ],
)
def test_a_rank_that_leaves_a_simulation_alone_ends_the_job(
    launch: Launch, tmp_path: Path, what: str, output: str, code: int, words: str
) -> None:
    begin = time.monotonic()
    done = launch(2, "-c", ALONE + LEFT.replace("WHAT", what), output, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert time.monotonic() - begin < 20
    assert done.stderr.count("rank 1: raised this error alone, aborting all 2 ranks") == 1
    assert words in done.stderr


def test_ranks_that_leave_a_simulation_together_end_as_they_said(launch: Launch, tmp_path: Path) -> None:
    text = LEFT.replace(" and comm.rank == 1", "").replace("WHAT", "raise SystemExit(3)")
    done = launch(2, "-c", ALONE + text, "output", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert {path.name for path in tmp_path.iterdir()} == {"run.checkpoints", "out.h5.part"}


CAUGHT = """
import sys
try:
    if comm.rank == 1:
        sys.exit(3)
except SystemExit as caught:
    print(caught)
"""


def test_an_exit_that_is_caught_is_no_failure(launch: Launch) -> None:
    done = launch(RANKS, "-c", ALONE + CAUGHT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3\n"


@pytest.mark.parametrize("status", ["3", "'no such thing'", "0", "None"])
def test_an_exit_of_all_ranks_is_left_alone(launch: Launch, status: str) -> None:
    done = launch(RANKS, "-c", ALONE + f"import sys\nsys.exit({status})\n")
    assert done.returncode == {"3": 3, "'no such thing'": 1}.get(status, 0)
    assert "abort" not in done.stderr


KILLED = """
import os, signal, sys
from mpibatch.io.write import shared_file
shared_file.ROUND_BYTES = 1 << 12
write = shared_file._write_part
def deadly(file, done, *rest):
    if done and comm.rank == 1 and sys.argv[3] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, done, *rest)
shared_file._write_part = deadly
mb.save(sys.argv[1], u=mb.Grid((64, 64, 8)).full(float(sys.argv[2])))
"""


def test_a_run_killed_while_it_writes_leaves_the_old_file_and_the_next_run_is_not_hindered(
    launch: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "out.h5"
    for value, how in (("1", "live"), ("2", "kill"), ("3", "live")):
        done = launch(RANKS, "-c", ALONE + KILLED, str(path), value, how)
        assert (done.returncode == 0) == (how == "live"), done.stderr
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["u"][...], 1 if how == "kill" else int(value))
        assert list(tmp_path.glob("*.part")) == ([tmp_path / "out.h5.part"] if how == "kill" else [])


def test_one_rank_alone_is_not_aborted(launch: Launch) -> None:
    done = launch(1, "-c", ALONE + "raise KeyError('only here')\n")
    assert done.returncode == 1
    assert "uncaught exception" not in done.stderr


AGREED = """
for kind in (OSError, mb.UsageError, ZeroDivisionError, MemoryError):
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
        "<RunError: reading: not enough memory: broken; use more ranks, or nodes (on rank 2 of 3)>",
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


REUSED = """
for _ in range(5):
    own = comm.Split(comm.rank, 0)
    assert mb.Grid((4,), comm=MPI.Intracomm(own)).size == 1
    own.Free()
    # MPI may give this one the handle of the one that was freed.
    pair = comm.Split(0, comm.rank)
    assert mb.Grid((4,), comm=pair).size == comm.size
    copy = pair.Dup()
    assert mb.Grid((4,), comm=copy).comm != mb.Grid((4,), comm=pair).comm
    copy.Free()
    pair.Free()
print("told apart")
"""


def test_a_freed_communicator_is_not_taken_for_a_new_one(launch: Launch) -> None:
    done = launch(RANKS, "-c", ALONE + REUSED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("told apart") == RANKS


MANY = """
for _ in range(2_500):
    own = comm.Dup()
    grid = mb.Grid((4,), comm=own)
    own.Free()
assert grid.comm == MPI.COMM_NULL  # freed with its own
mb.Grid((4,))
comm.Barrier()
MPI.Finalize()
try:
    mb.Grid((4,))
except mb.RunError as error:
    print(error)
"""


def test_communicators_come_and_go_and_after_the_end_of_mpi_calls_are_refused(launch: Launch) -> None:
    done = launch(2, "-c", ALONE + MANY, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("MPI has been finalized") == 2


def test_mpi_may_end_while_what_was_planned_for_fields_lives(launch: Launch) -> None:
    text = """
from mpi4py import MPI
import mpibatch as mb
u = mb.Grid((6, 5)).full(1.0, halo=1)
mb.exchange(u)
around = mb.halo.slabs(u, 0, (1, 1), "nearest")
MPI.Finalize()
"""
    done = launch(2, "-c", text)
    assert (done.returncode, done.stderr) == (0, "")


def test_calls_before_the_begin_of_mpi_are_refused(launch: Launch) -> None:
    text = "import mpi4py\nmpi4py.rc.initialize = False\n" + ALONE + "mb.Grid((4,))\n"
    done = launch(1, "-c", text)
    assert done.returncode == 1
    assert "RunError: MPI has not been initialized" in done.stderr
    begun = text.replace("mb.Grid", "MPI.Init()\nmb.Grid") + "MPI.Finalize()\n"
    assert launch(1, "-c", begun).returncode == 0


def test_importing_the_package_loads_neither_mpi_nor_numba(launch: Launch) -> None:
    text = "import sys, mpibatch; print([m for m in ('mpi4py.MPI', 'numba', 'h5py', 'numpy') if m in sys.modules])"
    assert launch(0, "-c", text).stdout.strip() == "[]"
