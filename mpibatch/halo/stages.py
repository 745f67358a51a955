"""Who moves the cells of a plan: stages, each of which is one phase of it with persistent requests.

An engine cuts an exchange into stages, and both are held to one contract suite:

- ``plan``: a single stage, one message per neighbor, corners included. The general way.
- ``axis``: axis after axis (corners travel along), so that nobody talks to the ranks across edges and corners.

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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import sent
from mpibatch.base.timing import turn
from mpibatch.domain import Box, Decomposition
from mpibatch.halo.face_copies import copier
from mpibatch.halo.plan import Halo, Move, Phase, phase
from mpibatch.mpi import MPI
from mpibatch.mpi.transfers import MESSAGE_BYTES, pieces

__all__ = ["ENGINES", "Bound", "Memory", "Place", "Stage", "bind", "cut_of", "staging"]

Array = npt.NDArray[Any]
Init = Callable[[Any], MPI.Prequest]
Engine = Callable[[MPI.Intracomm, Decomposition, Halo, Sequence["Memory"], Any], list["Stage"]]

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


class Stage:
    """One phase on memory, with persistent requests.

    Attributes
    ----------
    requests : persistent ones, begun all together; none where nobody talks.
    messages, nbytes : what this rank sends to others each time.
    """

    def __init__(self, comm: MPI.Intracomm, bound: Bound, cval: Any = 0) -> None:
        self._cval = cval
        self._fills = bound.fills
        self._types: list[MPI.Datatype] = []
        # What the requests point to must outlive them.
        self._kept: list[Any] = []
        self.requests: list[MPI.Prequest] = []
        packs: list[tuple[Array, Array]] = []
        unpacks: list[tuple[Array, Array]] = []
        for rank, todo in bound.receives.items():
            views = [view for view, _ in todo]
            parts = self._plan(partial(comm.Recv_init, source=rank, tag=TAG), views, [wire for _, wire in todo])
            unpacks += zip(views, parts, strict=True) if parts else []
        received = len(self.requests)
        for rank, views in bound.sends.items():
            parts = self._plan(partial(comm.Send_init, dest=rank, tag=TAG), views, [view.shape for view in views])
            packs += zip(parts, views, strict=True) if parts else []
        self.messages = len(self.requests) - received
        self.nbytes = sum(view.nbytes for views in bound.sends.values() for view in views)
        self._pack, self._unpack, self._copy = copier(packs), copier(unpacks), copier(bound.copies)
        self._packs, self._unpacks, self._copies = bool(packs), bool(unpacks), bool(bound.copies or bound.fills)

    def _plan(self, begin: Init, views: list[Array], wires: list[tuple[int, ...]]) -> list[Array]:
        """Prepare what one rank gets or gives, and return the staging parts (none: the views' own memory)."""
        parts: list[Array] = []
        sizes = [view.itemsize * math.prod(wire) for view, wire in zip(views, wires, strict=True)]
        is_direct = all(v.flags.c_contiguous and v.shape == wire for v, wire in zip(views, wires, strict=True))
        if is_direct and len(views) == 1:
            buffer = views[0].reshape(-1).view(np.uint8)
        elif is_direct and sum(sizes) <= MESSAGE_BYTES:
            places = [view.ctypes.data for view in views]
            together = MPI.Datatype.Create_struct(sizes, places, [MPI.BYTE] * len(views)).Commit()
            self._types.append(together)
            self._kept.append(views)
            self.requests.append(begin([MPI.BOTTOM, 1, together]))
            return []
        else:
            buffer, parts = staging([(v.dtype, wire) for v, wire in zip(views, wires, strict=True)])
        self._kept.append(buffer)
        for (cut,) in pieces(buffer.shape, 1, MESSAGE_BYTES):
            self.requests.append(begin([buffer[cut], cut.stop - cut.start, MPI.BYTE]))
        return parts

    def start(self) -> None:
        """Begin. Collective over neighbors; does not wait for them."""
        if self._packs:
            turn("pack")
            self._pack()
            turn("halo")
        if self.requests:
            sent(self.messages, self.nbytes)
            MPI.Prequest.Startall(self.requests)
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


def at_once(
    comm: MPI.Intracomm, decomposition: Decomposition, halo: Halo, memories: Sequence[Memory], cval: Any
) -> list[Stage]:
    """Return the only stage of the engine "plan". Local."""
    return [Stage(comm, bind(phase(decomposition, comm.rank, halo), memories), cval)]


def by_axis(
    comm: MPI.Intracomm, decomposition: Decomposition, halo: Halo, memories: Sequence[Memory], cval: Any
) -> list[Stage]:
    """Return a stage for each axis along which there is a halo. Local."""
    wide = [axis for axis, widths in enumerate(halo.widths) if any(widths)]
    if not halo.corners or len(wide) < 2:
        # Without corners no axis waits for another; all faces go at once.
        return at_once(comm, decomposition, halo, memories, cval)
    phases = (phase(decomposition, comm.rank, halo, (axis,)) for axis in wide)
    return [Stage(comm, bind(moves, memories), cval) for moves in phases]


ENGINES: dict[str, Engine] = {"plan": at_once, "axis": by_axis}


def staging(parts: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> tuple[Array, list[Array]]:
    """Return a byte buffer and, one behind the other in it, an array for every part. Local."""
    sizes = [dtype.itemsize * int(np.prod(shape)) for dtype, shape in parts]
    buffer = np.empty(sum(sizes), np.uint8)
    views, offset = [], 0
    for (dtype, shape), size in zip(parts, sizes, strict=True):
        views.append(buffer[offset : offset + size].view(dtype).reshape(shape))
        offset += size
    return buffer, views
