"""Who moves the cells of a plan: stages, each of which is one phase of it with persistent requests.

A stage is bound to memory. A contiguous face is sent where it lies, strided ones are packed into buffers that live as
long as the stage. `start` must be followed by `finish`; in between owned cells may be read but not written, and halo
cells may be neither. `free` is local, and nobody messages itself. Copying counts as "pack", what is left of the phase
that is open then as "halo".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import sent
from mpibatch.base.timing import turn
from mpibatch.domain import Box
from mpibatch.halo.face_copies import copier
from mpibatch.mpi import MPI
from mpibatch.mpi.transfers import MESSAGE_BYTES, pieces

if TYPE_CHECKING:
    from mpibatch.halo.plan import Move, Phase

__all__ = ["Bound", "Memory", "Message", "Place", "Stage", "bind", "cut_into", "cut_of", "staging"]

Array = npt.NDArray[Any]
Init = Callable[[Any], MPI.Prequest]

TAG = 2


class Place(Protocol):
    """Memory that a plan can write to."""

    @property
    def components(self) -> tuple[int, ...]:
        """The trailing shape behind the grid axes."""

    def at(self, box: Box) -> Array:
        """The view of `box`."""


def cut_of(move: Move, origin: tuple[int, ...]) -> tuple[slice, ...]:
    """Return slices for what `move` reads in an array whose first cell is `origin`. Local."""
    cuts = []
    for first, step, length, zero in zip(move.source, move.step, move.wire, origin, strict=True):
        begin = first - zero
        end = begin + length * (step or 1)
        cuts.append(slice(begin, end if end >= 0 else None, step or 1))
    return tuple(cuts)


@dataclass(frozen=True, slots=True)
class Memory:
    """One array and the global index of its first cell."""

    array: Array
    origin: tuple[int, ...]

    @property
    def components(self) -> tuple[int, ...]:
        """The trailing shape behind the grid axes. Local."""
        return self.array.shape[len(self.origin) :]

    @property
    def box(self) -> Box:
        """The global indices of its cells. Local."""
        return Box(self.origin, tuple(o + n for o, n in zip(self.origin, self.array.shape, strict=False)))

    def at(self, box: Box) -> Array:
        """The view of `box`. Local."""
        return self.array[box.slices(self.origin)]

    def source(self, move: Move) -> Array:
        """The view that `move` reads, of shape ``move.wire`` + components. Local."""
        return self.array[cut_of(move, self.origin)]


@dataclass(frozen=True, slots=True)
class Bound:
    """A phase on real memory. Receives pair the view to fill with the shape that arrives."""

    receives: dict[int, list[tuple[Array, tuple[int, ...]]]]
    sends: dict[int, list[Array]]
    copies: list[tuple[Array, Array]]
    fills: list[Array]


def bind(moves: Phase, sources: Sequence[Memory], targets: Sequence[Place] | None = None) -> Bound:
    """Return views for a phase, of every field in turn: read in `sources`, written in `targets` or there. Local."""
    places: Sequence[Place] = sources if targets is None else targets

    def arriving(todo: list[Move]) -> list[tuple[Array, tuple[int, ...]]]:
        return [(place.at(x.box), x.wire + place.components) for place in places for x in todo]

    return Bound(
        {rank: arriving(todo) for rank, todo in moves.receives.items()},
        {rank: [m.source(x) for m in sources for x in todo] for rank, todo in moves.sends.items()},
        [(t.at(x.box), s.source(x)) for s, t in zip(sources, places, strict=True) for x in moves.copies],
        [place.at(box) for place in places for box in moves.fills],
    )


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to one rank, or comes from it, each time.

    Attributes
    ----------
    rank : which one.
    views, wires : the cells, and the shape in which those of each view travel.
    parts : where they lie packed; none: they go from, or to, the views' own memory.
    requests : persistent ones, several of a message that is too long for one.
    """

    rank: int
    views: list[Array]
    wires: list[tuple[int, ...]]
    parts: list[Array]
    requests: list[MPI.Prequest]

    @property
    def nbytes(self) -> int:
        """How many bytes travel. Local."""
        return sum(dtype.itemsize * math.prod(wire) for dtype, wire in self.contents)

    @property
    def contents(self) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
        """Dtype and shape of what travels of each view. Local."""
        return [(view.dtype, wire) for view, wire in zip(self.views, self.wires, strict=True)]


class Stage:
    """One phase on memory, with persistent requests.

    Attributes
    ----------
    incoming, outgoing : its messages.
    requests : those of all, begun together; none where nobody talks.
    messages, nbytes : how many go to others each time, and their bytes.
    """

    def __init__(self, comm: MPI.Intracomm, bound: Bound, cval: Any = 0) -> None:
        self._comm, self._cval = comm, cval
        self._fills = bound.fills
        self._types: list[MPI.Datatype] = []
        # What the requests point to must outlive them.
        self._kept: list[Any] = []
        self.incoming = [
            self._message(partial(comm.Recv_init, source=rank, tag=TAG), rank, *map(list, zip(*todo, strict=True)))
            for rank, todo in bound.receives.items()
        ]
        self.outgoing = [
            self._message(partial(comm.Send_init, dest=rank, tag=TAG), rank, views, [view.shape for view in views])
            for rank, views in bound.sends.items()
        ]
        self.requests: list[MPI.Prequest] = [
            request for message in self.incoming + self.outgoing for request in message.requests
        ]
        self.messages = sum(len(message.requests) for message in self.outgoing)
        self.nbytes = sum(message.nbytes for message in self.outgoing)
        packs = [pair for message in self.outgoing for pair in zip(message.parts, message.views, strict=False)]
        unpacks = [pair for message in self.incoming for pair in zip(message.views, message.parts, strict=False)]
        self._pack, self._unpack, self._copy = copier(packs), copier(unpacks), copier(bound.copies)
        self._packs, self._unpacks, self._copies = bool(packs), bool(unpacks), bool(bound.copies or bound.fills)

    def _message(self, begin: Init, rank: int, views: list[Array], wires: list[tuple[int, ...]]) -> Message:
        """Prepare what one rank gets or gives."""
        message = Message(rank, views, wires, [], [])
        is_direct = all(v.flags.c_contiguous and v.shape == wire for v, wire in zip(views, wires, strict=True))
        if is_direct and len(views) == 1:
            buffer = views[0].reshape(-1).view(np.uint8)
        elif is_direct and message.nbytes <= MESSAGE_BYTES:
            places = [view.ctypes.data for view in views]
            together = MPI.Datatype.Create_struct([v.nbytes for v in views], places, [MPI.BYTE] * len(views)).Commit()
            self._types.append(together)
            self._kept.append(views)
            message.requests.append(begin([MPI.BOTTOM, 1, together]))
            return message
        else:
            buffer, parts = staging(message.contents)
            message.parts.extend(parts)
        self._kept.append(buffer)
        for (cut,) in pieces(buffer.shape, 1, MESSAGE_BYTES):
            message.requests.append(begin([buffer[cut], cut.stop - cut.start, MPI.BYTE]))
        return message

    def start(self) -> None:
        """Begin. Collective over neighbors; does not wait for them."""
        if self._packs:
            turn("pack")
            self._pack()
            turn("halo")
        if self.requests:
            sent(self.messages, self.nbytes)
            MPI.Prequest.Startall(self.requests)
        self._copy_within()

    def _copy_within(self) -> None:
        """Do what needs nobody else, while messages travel. Local."""
        if self._copies:
            turn("pack")
            self._copy()
            for view in self._fills:
                view[...] = self._cval
            turn("halo")

    def finish(self) -> None:
        """Complete what `start` began. Collective over neighbors."""
        if self.requests:
            MPI.Request.Waitall(self.requests)
        if self._unpacks:
            turn("pack")
            self._unpack()
            turn("halo")

    def free(self) -> None:
        """Release requests and datatypes. Local."""
        # A user may end MPI while fields live: with it went what was planned for them.
        handles: list[Any] = [] if MPI.Is_finalized() else [*self.requests, *self._types]
        for handle in handles:
            handle.Free()
        self.requests, self._types, self._kept = [], [], []


def staging(parts: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> tuple[Array, list[Array]]:
    """Return a byte buffer and, one behind the other in it, an array for every part. Local."""
    buffer = np.empty(sum(dtype.itemsize * math.prod(shape) for dtype, shape in parts), np.uint8)
    return buffer, cut_into(buffer, parts)


def cut_into(buffer: Array, parts: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> list[Array]:
    """Return arrays for all parts, one behind the other in a buffer of bytes. Local."""
    views, offset = [], 0
    for dtype, shape in parts:
        size = dtype.itemsize * math.prod(shape)
        views.append(buffer[offset : offset + size].view(dtype).reshape(shape))
        offset += size
    return views
