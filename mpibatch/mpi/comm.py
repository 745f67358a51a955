"""Private duplicates of communicators, so that our messages never meet the user's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from mpibatch.base.errors import RunError, UsageError
from mpibatch.mpi.values.communicator import plain
from mpibatch.mpi.watch.patience import PatienceWatch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["before_release", "private", "release_all", "spare", "watch", "world"]

# Parents with the key of the attribute, in the order in which the duplicates were made, the same on all ranks of each.
_parents: dict[int, tuple[MPI.Intracomm, MPI.Intracomm, int]] = {}
_number = 0
# What is to be closed before a duplicate is freed.
_closing: dict[int, list[Callable[[], object]]] = {}
# The user's communicator carries its duplicate as an attribute, and takes it along when it is freed.
_keys: dict[str, int] = {}
_NAME, _SPARE = "mpibatch", "mpibatch spare"
_watch: PatienceWatch | None = None


def world() -> MPI.Intracomm:
    """Return the communicator of all ranks, MPI's own.

    Returns
    -------
    mpi4py.MPI.Intracomm
        ``MPI.COMM_WORLD``, not a duplicate: messages on it are the program's own.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.mpi.world() == mb.mpi.MPI.COMM_WORLD
    True
    """
    return MPI.COMM_WORLD


def private(comm: MPI.Intracomm | None = None) -> MPI.Intracomm:
    """Return the library's duplicate of a communicator, whose messages never meet those of the program.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks are meant. Default: COMM_WORLD.

    Returns
    -------
    mpi4py.MPI.Intracomm
        The same one at every call for `comm`; for a duplicate, that duplicate. It has the same ranks in the same order,
        but no Cartesian topology. Its lower-case methods send numbers, text, arrays and containers of these, and
        nothing that would have to be pickled. It is freed with `comm`, or at the end of the program.

    Raises
    ------
    UsageError
        If `comm` is no intracommunicator.
    RunError
        If MPI has not been initialized, or has been finalized, or if a batch script started another number of ranks
        than MPI sees.

    Notes
    -----
    Collective at the first call for a communicator, which splits it; Local afterwards. The first call for all ranks
    also starts the watch that ends the job when every rank waits for others, or has left (``MPIBATCH_PATIENCE``).

    Examples
    --------
    >>> import mpibatch as mb
    >>> comm = mb.mpi.private()
    >>> comm.size == mb.mpi.world().size, mb.mpi.private(comm) is comm
    (True, True)
    """
    _check_alive()
    if comm is None:
        _check_expected()
    parent = MPI.COMM_WORLD if comm is None else comm
    if not isinstance(parent, MPI.Intracomm) or parent == MPI.COMM_NULL:
        raise UsageError(
            f"a grid needs an mpi4py intracommunicator, not {parent!r}; pass MPI.COMM_WORLD or a split of it"
        )
    known = parent.Get_attr(_key(_NAME))
    if isinstance(known, MPI.Intracomm):
        return known
    if any(parent == duplicate for _, duplicate, _ in _parents.values()):
        return parent
    _watch_world(parent)
    return _duplicate(parent, _NAME)


def spare(comm: MPI.Intracomm) -> MPI.Intracomm:
    """Return a second duplicate, for messages that must not meet those of `comm`. Collective at the first call."""
    known = comm.Get_attr(_key(_SPARE))
    return known if isinstance(known, MPI.Intracomm) else _duplicate(comm, _SPARE)


def before_release(comm: MPI.Intracomm, close: Callable[[], object]) -> None:
    """Have `close` called, collectively, before a private communicator is freed. Local.

    Not as the end of an attribute of it: MPICH deletes those with the last request that was planned on it, within which
    nothing else can be called.
    """
    (number,) = (number for number, (_, duplicate, _) in _parents.items() if duplicate == comm)
    _closing.setdefault(number, []).append(close)


def watch() -> PatienceWatch | None:
    """Return what watches over all ranks; None before they have first met in a call of the library. Local."""
    return _watch


def _watch_world(parent: MPI.Intracomm) -> None:
    """Begin to watch over all ranks, if all of them have come here. Collective over `parent`."""
    global _watch
    if _watch is None and parent.size == MPI.COMM_WORLD.size > 1:
        _watch = PatienceWatch(_split(MPI.COMM_WORLD, "mpibatch watch"))


def _check_alive() -> None:
    if MPI.Is_finalized():
        raise RunError("MPI has been finalized, so that ranks cannot talk any more; call MPI.Finalize() last, or never")
    if not MPI.Is_initialized():
        raise RunError("MPI has not been initialized (mpi4py.rc.initialize is off); call MPI.Init() first")


def _key(name: str) -> int:
    if name not in _keys:
        _keys[name] = MPI.Comm.Create_keyval(delete_fn=_forget)
    return _keys[name]


def _split(comm: MPI.Intracomm, name: str) -> MPI.Intracomm:
    # Split, not Dup: Dup would keep a Cartesian topology, with which some MPI-IO stacks write wrong data.
    duplicate: MPI.Intracomm = plain(comm.Split(0, comm.rank))
    duplicate.Set_name(name)
    return duplicate


def _duplicate(comm: MPI.Intracomm, name: str) -> MPI.Intracomm:
    """Duplicate a communicator, and keep the duplicate as an attribute of it. Collective."""
    global _number
    duplicate = _split(comm, name)
    _number += 1
    # Of its own handle: the user's object forgets its when it is freed.
    _parents[_number] = MPI.Intracomm(comm), duplicate, _key(name)
    comm.Set_attr(_key(name), duplicate)
    return duplicate


def _forget(comm: MPI.Comm, key: int, duplicate: Any) -> None:
    """Free a duplicate, with its communicator: on all ranks of it together. Collective."""
    for number, (_, known, _) in list(_parents.items()):
        if known is duplicate:
            del _parents[number]
            for close in reversed(_closing.pop(number, [])):
                close()
            duplicate.Free()


def _check_expected() -> None:
    """Refuse to start when a batch script started more, or fewer, ranks than MPI sees: each may be alone. Local."""
    expected = os.environ.get("MPIBATCH_EXPECT_RANKS", "")
    if expected.isdecimal() and int(expected) != MPI.COMM_WORLD.size:
        raise RunError(
            f"{expected} ranks were started, but MPI sees {MPI.COMM_WORLD.size}: the launcher speaks another language "
            "than this MPI; try srun --mpi=pmi2 (MPICH), srun --mpi=pmix (Open MPI), or this MPI's own mpiexec"
        )


def release_all() -> None:
    """Free every private communicator. Collective over each; called at the end on all ranks in the same order."""
    global _watch
    while _parents:
        parent, _, key = _parents[max(_parents)]
        parent.Delete_attr(key)
    if _watch is not None:
        _watch.comm.Free()
        _watch = None
