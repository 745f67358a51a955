"""Where ranks are: their hosts, and the cores that they may use."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["Hosts", "hosts_of", "node_count"]

NAME_BYTES = 64
_key = MPI.KEYVAL_INVALID  # of the attribute of a communicator: its number of nodes
CORE_BYTES = 128  # a bit for each of a host's first 1024 cores


@dataclass(frozen=True)
class Hosts:
    """The hosts of a communicator's ranks. Its parameters are its attributes.

    Parameters
    ----------
    ranks : dict of str to int
        How many ranks there are on each host, in the order of their first ranks.
    cores : int
        The least number of cores that a rank may use.
    shared : bool
        Whether two ranks of a host may use the same core.

    Notes
    -----
    Local. `hosts_of` makes one.

    Examples
    --------
    >>> import mpibatch as mb
    >>> hosts = mb.mpi.Hosts({"node1": 8, "node2": 8}, cores=2, shared=False)
    >>> sum(hosts.ranks.values())
    16
    """

    ranks: dict[str, int]
    cores: int
    shared: bool


def hosts_of(comm: MPI.Intracomm) -> Hosts | None:
    """Return on which hosts the ranks of a communicator run, and on how many cores.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Whose ranks are meant.

    Returns
    -------
    Hosts or None
        On rank 0 the hosts, elsewhere None.

    Notes
    -----
    Collective: one gather of 192 bytes from each rank. Host names are truncated to 64 bytes, and only the first 1024
    cores of a host are counted.

    Examples
    --------
    >>> import mpibatch as mb
    >>> comm = mb.mpi.private()
    >>> hosts = mb.mpi.hosts_of(comm)
    >>> hosts is None or sum(hosts.ranks.values()) == comm.size
    True
    """
    mine = np.zeros(NAME_BYTES + CORE_BYTES, "u1")
    name = MPI.Get_processor_name().encode()[:NAME_BYTES]
    mine[: len(name)] = np.frombuffer(name, "u1")
    mine[NAME_BYTES:] = _bits(os.sched_getaffinity(0))
    rows = np.empty((comm.size, mine.size), "u1") if comm.rank == 0 else None
    comm.Gather(mine, rows, root=0)
    return None if rows is None else told_by(rows)


def node_count(comm: MPI.Intracomm) -> int:
    """Return on how many nodes the ranks are. Collective at the first call for a communicator, which remembers it."""
    global _key
    if _key == MPI.KEYVAL_INVALID:
        _key = MPI.Comm.Create_keyval()
    known = comm.Get_attr(_key)
    if known is None:
        node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
        known = comm.allreduce(int(node.rank == 0), op=MPI.SUM)
        node.Free()
        comm.Set_attr(_key, known)
    return int(known)


def told_by(rows: npt.NDArray[np.uint8]) -> Hosts:
    """Return the hosts from what each rank tells: a name, and its cores as bits. Local."""
    of: dict[bytes, list[int]] = {}
    for rank, name in enumerate(rows[:, :NAME_BYTES]):
        of.setdefault(name.tobytes(), []).append(rank)
    cores = np.array([_count(bits) for bits in rows[:, NAME_BYTES:]])
    shared = False
    for ranks in of.values():
        # Sets are disjoint if none is lost in their union.
        union = np.bitwise_or.reduce(rows[ranks, NAME_BYTES:], axis=0)
        shared = shared or _count(union) < int(cores[ranks].sum())
    names = {name.rstrip(b"\0").decode(errors="replace"): len(ranks) for name, ranks in of.items()}
    return Hosts(names, int(cores.min()), shared)


def _bits(cores: set[int]) -> npt.NDArray[np.uint8]:
    flags = np.zeros(8 * CORE_BYTES, "u1")
    flags[[core for core in cores if core < flags.size]] = 1
    return np.packbits(flags)


def _count(bits: npt.NDArray[np.uint8]) -> int:
    return int(np.unpackbits(bits).sum())
