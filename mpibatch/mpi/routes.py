"""Rows of integers from any rank to any other, when nobody knows who will hear from whom: bulletins and inquiries.

Every row goes to its rank by the binary digits of its way: in hop k the rows whose distance has digit k go 2**k ranks
on (J. Bruck et al., "Efficient algorithms for all-to-all communications", doi:10.1109/71.642949). So each rank sends
and receives one message a hop, log2(ranks) in all, from ranks that it knows; there are no tables of counts as long as
there are ranks, and no polling. A row travels half of the hops on average. Rows about the same thing are merged on the
way: where all ranks ask about one thing, its owner is asked by log2(ranks) of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from mpibatch.mpi.transfers import Target, Transfers, transfer

__all__ = ["TAG", "ask", "forward"]

Ints = npt.NDArray[np.int64]

TAG = 11


def forward(comm: MPI.Intracomm, to: Ints, rows: Ints, merge: Callable[[Ints], Ints] | None = None) -> Ints:
    """Bring each row to its rank, and return the rows for this one, in no particular order. Collective.

    Parameters
    ----------
    comm : a private communicator.
    to : the rank of each row.
    rows : int64 array of two axes; as many columns on all ranks.
    merge : takes rows and returns fewer, which say the same, in any order; called wherever rows come together. The
        first column of rows that it makes one must tell their rank, that is, be equal only for rows to the same rank.
    """
    # The way that is left travels as the last column, so that `merge` sees the caller's own in front.
    held = np.column_stack([rows, (to - comm.rank) % comm.size])
    for distance in _distances(comm.size):
        goes = (held[:, -1] & distance) != 0
        held = np.concatenate([held[~goes], _swap(comm, held[goes], distance)])
        if merge is not None:
            held = merge(held)
    return held[:, :-1]


def ask(comm: MPI.Intracomm, to: Ints, keys: Ints, answer: Callable[[Ints], Ints]) -> Ints:
    """Ask the rank of each key about it, and return the answers, a row for each key. Collective.

    Parameters
    ----------
    comm : a private communicator.
    to : the rank of each key; a key has the same one wherever it is asked for.
    keys : int64.
    answer : takes different keys of this rank, and returns an int64 array of two axes with a row for each; as many
        columns on all ranks. Called once. It must not communicate, nor fail on one rank alone.
    """
    held, inverse = _distinct(np.column_stack([keys, (to - comm.rank) % comm.size]))
    trail: list[tuple[int, npt.NDArray[np.bool_], Ints]] = []
    for distance in _distances(comm.size):
        goes = (held[:, 1] & distance) != 0
        joined, places = _distinct(np.concatenate([held[~goes], _swap(comm, held[goes], distance)]))
        trail.append((distance, goes, places))
        held = joined
    values = answer(held[:, 0])
    for distance, goes, places in reversed(trail):
        joint = values[places]
        stays = len(goes) - np.count_nonzero(goes)
        values = np.empty((len(goes), joint.shape[1]), np.int64)
        values[~goes] = joint[:stays]
        values[goes] = _swap(comm, joint[stays:], -distance)
    return values[inverse]


def _distances(ranks: int) -> Iterator[int]:
    distance = 1
    while distance < ranks:
        yield distance
        distance *= 2


def _distinct(rows: Ints) -> tuple[Ints, Ints]:
    """Return the rows with different keys, and for each row which of them it is. Local."""
    _, index, inverse = np.unique(rows[:, 0], return_index=True, return_inverse=True)
    return rows[index], inverse.astype(np.int64)


def _swap(comm: MPI.Intracomm, rows: Ints, distance: int) -> Ints:
    """Send rows `distance` ranks on, and return those from as far behind. Collective."""
    to, giver = (comm.rank + distance) % comm.size, (comm.rank - distance) % comm.size
    count = np.empty(1, np.int64)
    comm.Sendrecv(np.array([len(rows)], np.int64), to, TAG, count, giver, TAG)
    arriving = np.empty((int(count[0]), rows.shape[1]), np.int64)
    moves = Transfers()
    if rows.size:
        moves.sends[to] = [np.ascontiguousarray(rows)]
    if arriving.size:
        moves.receives[giver] = [Target(arriving, arriving.shape)]
    transfer(comm, moves, TAG)
    return arriving
