"""Rows of integers from any rank to any other, when nobody knows who will hear from whom: bulletins and inquiries.

Every row goes to its rank by the binary digits of its way, up or down, whichever is shorter: in hop k the rows whose
distance has digit k go 2**k ranks on (J. Bruck et al., "Efficient algorithms for all-to-all communications",
doi:10.1109/71.642949). So each rank sends and receives two messages a hop, fewer than 2 log2(ranks) in all, with ranks
that it knows; there are no tables of counts as long as there are ranks, and no polling. To a neighbor of the block a
row takes a hop or a few. Rows about the same thing are merged on the way: where all ranks ask about one thing, its
owner is asked by fewer than 2 log2(ranks) of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from mpibatch.mpi.transfers import MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TAG", "ask", "forward"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

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
    # The way travels as the last column, which `merge` does not see.
    held = np.column_stack([rows, _ways(comm, to)])
    for distance in _distances(comm.size):
        stays, goes = _parted(held[:, -1], distance)
        held = np.concatenate([held[stays], *_swap(comm, distance, [held[part] for part in goes])])
        if merge is not None:
            held = _merged(held, merge)
    return held[:, :-1]


def _merged(held: Ints, merge: Callable[[Ints], Ints]) -> Ints:
    """Return what `merge` makes of rows, each with a way that one of its first column had. Local."""
    # Of rows that are on one rank, and go to one, the ways differ in hops alone that are behind them.
    names, index = np.unique(held[:, 0], return_index=True)
    rows = merge(held[:, :-1])
    return np.column_stack([rows, held[index[np.searchsorted(names, rows[:, 0])], -1]])


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
    held, inverse = _distinct(np.column_stack([keys, _ways(comm, to)]))
    trail: list[tuple[int, list[Places], list[int], Ints]] = []
    for distance in _distances(comm.size):
        stays, goes = _parted(held[:, 1], distance)
        arrived = _swap(comm, distance, [held[part] for part in goes])
        joined, places = _distinct(np.concatenate([held[stays], *arrived]))
        trail.append((distance, [stays, *goes], [len(rows) for rows in arrived], places))
        held = joined
    values = answer(held[:, 0])
    for distance, parts, counts, places in reversed(trail):
        joint = values[places]
        kept, *back = np.split(joint, np.cumsum([len(parts[0]), *counts])[:-1])
        values = np.empty((sum(map(len, parts)), joint.shape[1]), np.int64)
        for part, rows in zip(parts, [kept, *_swap(comm, distance, back, is_return=True)], strict=True):
            values[part] = rows
    return values[inverse]


def _ways(comm: MPI.Intracomm, to: Ints) -> Ints:
    """Return how many ranks up (or, negative, down) each of these ranks lies from this one. Local."""
    up = (to - comm.rank) % comm.size
    return np.where(up <= comm.size // 2, up, up - comm.size)


def _distances(ranks: int) -> Iterator[int]:
    distance = 1
    while distance <= ranks // 2:
        yield distance
        distance *= 2


def _parted(ways: Ints, distance: int) -> tuple[Places, list[Places]]:
    """Return which rows stay in a hop of this distance, and which go up and down. Local."""
    goes = (np.abs(ways) & distance) != 0
    return np.flatnonzero(~goes), [np.flatnonzero(goes & (ways > 0)), np.flatnonzero(goes & (ways < 0))]


def _distinct(rows: Ints) -> tuple[Ints, Ints]:
    """Return the rows with different keys, and for each row which of them it is. Local."""
    _, index, inverse = np.unique(rows[:, 0], return_index=True, return_inverse=True)
    return rows[index], inverse.astype(np.int64)


def _swap(comm: MPI.Intracomm, distance: int, rows: list[Ints], is_return: bool = False) -> list[Ints]:
    """Send rows so many ranks up, and others down, and return those from below, and from above. Collective.

    For the way back rows and those returned are the other way round.
    """
    # Half way round, up and down are the same rank, and ways go up.
    signs = [1, -1] if distance <= (comm.size - 1) // 2 else [1]
    if is_return:
        signs = [-sign for sign in signs]
    columns = rows[0].shape[1]
    most = MESSAGE_BYTES // (8 * columns)  # rows of a message; one that has fewer is the last
    requests = []
    for sign, leaving in zip(signs, rows, strict=False):
        packed = np.ascontiguousarray(leaving)
        for low in range(0, len(packed) + 1, most):
            part = packed[low : low + most]
            requests.append(comm.Isend([part, part.size, MPI.INT64_T], (comm.rank + sign * distance) % comm.size, TAG))
    arriving = [_received(comm, (comm.rank - sign * distance) % comm.size, columns, most) for sign in signs]
    MPI.Request.Waitall(requests)
    return arriving + [np.empty((0, columns), np.int64)] * (2 - len(signs))


def _received(comm: MPI.Intracomm, giver: int, columns: int, most: int) -> Ints:
    """Return the rows that another rank sends, however many. Collective with it."""
    status = MPI.Status()
    parts: list[Ints] = []
    while not parts or len(parts[-1]) == most:
        message = comm.Mprobe(giver, TAG, status)
        count = status.Get_count(MPI.INT64_T)
        part = np.empty((count // columns, columns), np.int64)
        message.Recv([part, count, MPI.INT64_T])
        parts.append(part)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
