"""Move views of arrays between ranks once: the general way, without any assumption on who talks to whom.

A transfer lists, for every other rank, the views to send to it and the views to fill from it. Both sides list
their views in the same order; a filled view may be larger than what arrives along axes of length 1, and is
then filled by broadcasting.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from mpibatch.base.timing import phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MESSAGE_BYTES", "Target", "Transfers", "messages", "pieces", "transfer"]

PACK = phase("pack")

# Many MPI stacks fail above 2^31 elements in a call; half of it leaves room for everyone.
MESSAGE_BYTES = 1 << 30
# Messages under way at once per direction; bounds the memory for packing and MPI's queues.
WINDOW = 32

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A view to fill, and the shape of what arrives for it. Its parameters are its attributes.

    Parameters
    ----------
    view : ndarray
        What is filled: of any dtype and strides.
    wire : tuple of int
        The shape that is sent: that of `view`, or 1 along axes on which what arrives is repeated.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> means = np.empty((4, 3))
    >>> mb.mpi.Target(means, (1, 3)).wire  # all four rows are filled with the row that arrives
    (1, 3)
    """

    view: Array
    wire: tuple[int, ...]


@dataclass(slots=True)
class Transfers:
    """What one rank sends, receives and copies. Its parameters are its attributes.

    Parameters
    ----------
    sends : dict of int to list of ndarray, default {}
        Views of arrays by the rank that receives them.
    receives : dict of int to list of Target, default {}
        Views to fill by the rank that sends them, in the order in which it lists what it sends, and of the same shapes
        and dtypes.
    copies : list of (ndarray, ndarray), default []
        Pairs (target, source) of this rank's own arrays: each source is copied into its target.

    Notes
    -----
    Local: `transfer` carries it out.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> source, target = np.arange(3), np.zeros(3)
    >>> mb.mpi.transfer(mb.mpi.private(), mb.mpi.Transfers(copies=[(target, source)]))
    >>> target
    array([0., 1., 2.])
    """

    sends: dict[int, list[Array]] = field(default_factory=dict)
    receives: dict[int, list[Target]] = field(default_factory=dict)
    copies: list[tuple[Array, Array]] = field(default_factory=list)


def pieces(wire: tuple[int, ...], itemsize: int, limit: int) -> Iterator[tuple[slice, ...]]:
    """Yield slices that cut an array of shape `wire` into parts of at most `limit` bytes, in C order. Local.

    Both sides of a message call this with the same arguments, so that their parts correspond.
    """
    if math.prod(wire) * itemsize <= limit or not wire:
        yield tuple(slice(0, n) for n in wire)
        return
    # Whole slabs along the first axis that fit; below that, recurse into single indices.
    inner = math.prod(wire[1:]) * itemsize
    if inner <= limit:
        step = limit // inner
        for low in range(0, wire[0], step):
            yield (slice(low, min(low + step, wire[0])), *(slice(0, n) for n in wire[1:]))
    else:
        for index in range(wire[0]):
            for rest in pieces(wire[1:], itemsize, limit):
                yield (slice(index, index + 1), *rest)


def transfer(comm: MPI.Intracomm, moves: Transfers, tag: int = 1, limit: int | None = None) -> None:
    """Move views of arrays between ranks, from any of them to any others.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Whose ranks are meant: a private communicator.
    moves : Transfers
        What this rank sends, receives and copies; the ranks' lists fit one another.
    tag : int, default 1
        The tag of the messages.
    limit : int, optional
        Bytes of the longest message; what is longer is sent in parts. The same on both sides. Default: 1 GiB, since
        many MPI libraries fail at 2 GiB.

    Notes
    -----
    Collective over the ranks that occur in one another's lists. Messages go in rounds, by the distance between ranks,
    and at most 32 at a time in each direction, which rules out deadlocks. A contiguous view is sent and received where
    it lies; others pass through a buffer of at most `limit` bytes each.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> comm = mb.mpi.private()
    >>> right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    >>> row, received = np.full(3, comm.rank), np.empty(3, int)
    >>> target = mb.mpi.Target(received, received.shape)
    >>> mb.mpi.transfer(comm, mb.mpi.Transfers(sends={right: [row]}, receives={left: [target]}))
    >>> bool((received == left).all())
    True
    """
    most = MESSAGE_BYTES if limit is None else limit
    if moves.copies:
        with PACK:
            for target, source in moves.copies:
                target[...] = source
    rank, size = comm.rank, comm.size
    ahead = ((to - rank) % size for to in moves.sends)
    behind = ((rank - giver) % size for giver in moves.receives)
    for distance in sorted({*ahead, *behind}):
        to, giver = (rank + distance) % size, (rank - distance) % size
        outgoing = _send_parts(moves.sends.get(to, []), most)
        incoming = _receive_parts(moves.receives.get(giver, []), most)
        while True:
            with PACK:
                leaving = list(itertools.islice(outgoing, WINDOW))
                arriving = list(itertools.islice(incoming, WINDOW))
            if not leaving and not arriving:
                break
            requests = [comm.Irecv([buffer, buffer.nbytes, MPI.BYTE], giver, tag) for buffer, _ in arriving]
            requests += [comm.Isend([buffer, buffer.nbytes, MPI.BYTE], to, tag) for buffer in leaving]
            MPI.Request.Waitall(requests)
            with PACK:
                for buffer, view in arriving:
                    if view is not None:
                        view[...] = buffer


def messages(sends: Mapping[int, list[Array]]) -> int:
    """Return how many messages `transfer` sends for these views. Local."""
    every = (view for views in sends.values() for view in views)
    return sum(1 for view in every for _ in pieces(view.shape, view.itemsize, MESSAGE_BYTES))


def _send_parts(views: list[Array], limit: int) -> Iterator[Array]:
    for view in views:
        for cut in pieces(view.shape, view.itemsize, limit):
            yield np.ascontiguousarray(view[cut])


def _receive_parts(targets: list[Target], limit: int) -> Iterator[tuple[Array, Array | None]]:
    for target in targets:
        view = target.view
        for cut in pieces(target.wire, view.itemsize, limit):
            # Along a repeated axis the one arriving cell fills the whole extent of the view.
            part = view[
                tuple(c if w == n else slice(None) for c, w, n in zip(cut, target.wire, view.shape, strict=True))
            ]
            wire = tuple(c.stop - c.start for c in cut)
            if part.shape == wire and part.flags.c_contiguous:
                yield part, None
            else:
                yield np.empty(wire, view.dtype), part
