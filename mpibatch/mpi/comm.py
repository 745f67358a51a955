"""Private duplicates of communicators, so that our messages never meet the user's."""

from __future__ import annotations

import atexit
import os

from mpi4py import MPI

from mpibatch.errors import RunError, UsageError

__all__ = ["private", "release_all", "spare", "world"]

# In the order of creation, which is the same on all ranks of each.
_duplicates: list[MPI.Intracomm] = []
# The user's communicator carries its duplicate as an attribute: when it is freed, MPI may give its handle to another.
_ATTRIBUTE = MPI.Comm.Create_keyval()
_SPARE = MPI.Comm.Create_keyval()


def world() -> MPI.Intracomm:
    """Return MPI's world communicator. Local."""
    return MPI.COMM_WORLD


def private(comm: MPI.Intracomm | None = None) -> MPI.Intracomm:
    """Return our duplicate of `comm` (default: the world), made at the first call for it. Collective.

    Of a duplicate of ours it returns that one. The duplicate carries no Cartesian topology and is freed by
    `release_all`, which runs at exit.
    """
    if comm is None:
        _check_expected()
    parent = MPI.COMM_WORLD if comm is None else comm
    if not isinstance(parent, MPI.Intracomm) or parent == MPI.COMM_NULL:
        raise UsageError(
            f"a grid needs an mpi4py intracommunicator, not {parent!r}; pass MPI.COMM_WORLD or a split of it"
        )
    known = parent.Get_attr(_ATTRIBUTE)
    if isinstance(known, MPI.Intracomm):
        return known
    if parent in _duplicates:
        return parent
    return _duplicate(parent, _ATTRIBUTE, "mpibatch")


def spare(comm: MPI.Intracomm) -> MPI.Intracomm:
    """Return a second duplicate, for messages that must not meet those of `comm`. Collective at the first call."""
    known = comm.Get_attr(_SPARE)
    return known if isinstance(known, MPI.Intracomm) else _duplicate(comm, _SPARE, "mpibatch spare")


def _duplicate(comm: MPI.Intracomm, attribute: int, name: str) -> MPI.Intracomm:
    """Duplicate a communicator, and keep the duplicate as an attribute of it. Collective."""
    # Split, not Dup: Dup would keep a Cartesian topology, with which some MPI-IO stacks write wrong data.
    duplicate = MPI.Intracomm(comm.Split(0, comm.rank))
    duplicate.Set_name(name)
    comm.Set_attr(attribute, duplicate)
    _duplicates.append(duplicate)
    return duplicate


def _check_expected() -> None:
    """Refuse to start when a batch script started more, or fewer, ranks than MPI sees: each may be alone. Local."""
    expected = os.environ.get("MPIBATCH_EXPECT_RANKS", "")
    if expected.isdecimal() and int(expected) != MPI.COMM_WORLD.size:
        raise RunError(
            f"{expected} ranks were started, but MPI sees {MPI.COMM_WORLD.size}: the launcher speaks another language "
            "than this MPI; try srun --mpi=pmi2 (MPICH), srun --mpi=pmix (Open MPI), or this MPI's own mpiexec"
        )


def release_all() -> None:
    """Free every private communicator. Collective over each; called at exit on all ranks in the same order."""
    while _duplicates:
        duplicate = _duplicates.pop()
        if not MPI.Is_finalized():
            duplicate.Free()


atexit.register(release_all)
