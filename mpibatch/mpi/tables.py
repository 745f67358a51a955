"""Tables of all ranks made one, on every rank: two at a time, in as many steps as their number has binary digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.mpi.transfers import Target, Transfers, transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

__all__ = ["Table", "merge_tables"]

Table = tuple[npt.NDArray[Any], ...]  # columns: arrays whose first axes are equally long


def merge_tables(comm: MPI.Intracomm, mine: Table, merge: Callable[[Table, Table], Table]) -> Table:
    """Return what `merge` makes of all ranks' tables, two by two, in whatever order; on every rank. Collective.

    By doubling, after the ranks beyond the largest power of 2 gave theirs to others. Columns have the same dtype, and
    the same shape but for the first axis, on all ranks and in what is merged.
    """
    whole = 1 << (comm.size.bit_length() - 1)
    rank = comm.rank
    if rank >= whole:
        _give(comm, mine, rank - whole)
        return _take(comm, mine, rank - whole)
    if rank + whole < comm.size:
        mine = merge(mine, _take(comm, mine, rank + whole))
    step = 1
    while step < whole:
        mine = merge(mine, _swap(comm, mine, rank ^ step))
        step <<= 1
    if rank + whole < comm.size:
        _give(comm, mine, rank + whole)
    return mine


def _give(comm: MPI.Intracomm, table: Table, taker: int) -> None:
    comm.Send(np.array([len(table[0])], np.int64), taker)
    transfer(comm, Transfers(sends={taker: list(table)}))


def _take(comm: MPI.Intracomm, like: Table, giver: int) -> Table:
    rows = np.empty(1, np.int64)
    comm.Recv(rows, giver)
    table = _room(like, int(rows[0]))
    transfer(comm, Transfers(receives={giver: [Target(column, column.shape) for column in table]}))
    return table


def _swap(comm: MPI.Intracomm, table: Table, partner: int) -> Table:
    rows = np.empty(1, np.int64)
    comm.Sendrecv(np.array([len(table[0])], np.int64), partner, recvbuf=rows, source=partner)
    other = _room(table, int(rows[0]))
    receives = {partner: [Target(column, column.shape) for column in other]}
    transfer(comm, Transfers(sends={partner: list(table)}, receives=receives))
    return other


def _room(like: Table, rows: int) -> Table:
    return tuple(np.empty((rows, *column.shape[1:]), column.dtype) for column in like)
