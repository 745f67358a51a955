"""Who moves the cells of a plan: engines of one protocol, held to one contract suite.

- ``plan``: the whole plan at once, one packed message per neighbor, corners included. The general way.
- ``axis``: axis after axis (corners travel along), persistent requests; a contiguous face is sent where it lies,
  strided ones are packed into buffers that live as long as the engine.

An engine is bound to the memory of its fields. `start` must be followed by `finish`; in between owned cells may
be read but not written, and halo cells may be neither. `free` is local, and nobody messages itself. Copying counts as
"pack", what is left of the phase that is open then as "halo".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base import tally
from mpibatch.base.timing import turn
from mpibatch.domain import Box, Decomposition
from mpibatch.halo.pack import copier
from mpibatch.halo.plan import Halo, Move, Phase, phase
from mpibatch.mpi import MPI

__all__ = ["ENGINES", "AxisEngine", "Bound", "Engine", "Memory", "Place", "PlanEngine", "bind"]

Array = npt.NDArray[Any]
TAG = 2


class Place(Protocol):
    """Memory that a plan can write to."""

    @property
    def components(self) -> tuple[int, ...]:
        """The trailing shape behind the grid axes."""

    def at(self, box: Box) -> Array:
        """The view of `box`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One array and the global index of its first cell."""

    array: Array
    origin: tuple[int, ...]

    @property
    def components(self) -> tuple[int, ...]:
        """The trailing shape behind the grid axes. Local."""
        return self.array.shape[len(self.origin) :]

    def at(self, box: Box) -> Array:
        """The view of `box`. Local."""
        return self.array[box.slices(self.origin)]

    def source(self, move: Move) -> Array:
        """The view that `move` reads, of shape ``move.wire`` + components. Local."""
        cuts = []
        for first, step, length, zero in zip(move.source, move.step, move.wire, self.origin, strict=True):
            begin = first - zero
            end = begin + length * (step or 1)
            cuts.append(slice(begin, end if end >= 0 else None, step or 1))
        return self.array[tuple(cuts)]


@dataclass(frozen=True, slots=True)
class Bound:
    """A phase on real memory. Receives pair the view to fill with the shape that arrives."""

    receives: dict[int, list[tuple[Array, tuple[int, ...]]]]
    sends: dict[int, list[Array]]
    copies: list[tuple[Array, Array]]
    fills: list[Array]

    @property
    def traffic(self) -> tuple[int, int]:
        """Messages and bytes that are sent, with one message for each rank. Local."""
        return len(self.sends), sum(view.nbytes for views in self.sends.values() for view in views)


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


class Engine(Protocol):
    """Fills the halos of its fields."""

    def start(self) -> None:
        """Begin to fill the halos. Collective over neighbors; does not wait for them."""

    def finish(self) -> None:
        """Complete what `start` began. Collective over neighbors."""

    def free(self) -> None:
        """Release requests and datatypes. Local."""


class PlanEngine:
    """The whole plan at once with plain nonblocking messages, one per neighbor."""

    def __init__(
        self, comm: MPI.Intracomm, decomposition: Decomposition, halo: Halo, memories: Sequence[Memory], cval: Any
    ) -> None:
        self._comm = comm
        self._cval = cval
        bound = bind(phase(decomposition, comm.rank, halo), memories)
        self._bound = bound
        self._arriving = {r: _staging([(v.dtype, wire) for v, wire in todo]) for r, todo in bound.receives.items()}
        self._leaving = {r: _staging([(v.dtype, v.shape) for v in todo]) for r, todo in bound.sends.items()}
        self._requests: list[MPI.Request] = []
        self._traffic = bound.traffic

    def start(self) -> None:
        """See `Engine`."""
        comm, bound = self._comm, self._bound
        tally.sent(*self._traffic)
        self._requests = [comm.Irecv([buffer, MPI.BYTE], rank, TAG) for rank, (buffer, _) in self._arriving.items()]
        for rank, (buffer, parts) in self._leaving.items():
            turn("pack")
            for part, view in zip(parts, bound.sends[rank], strict=True):
                part[...] = view
            turn("halo")
            self._requests.append(comm.Isend([buffer, MPI.BYTE], rank, TAG))
        turn("pack")
        for target, source in bound.copies:
            target[...] = source
        for view in bound.fills:
            view[...] = self._cval
        turn("halo")

    def finish(self) -> None:
        """See `Engine`."""
        MPI.Request.Waitall(self._requests)
        self._requests = []
        turn("pack")
        for rank, (_, parts) in self._arriving.items():
            for part, (view, _) in zip(parts, self._bound.receives[rank], strict=True):
                view[...] = part
        turn("halo")

    def free(self) -> None:
        """See `Engine`."""
        self._arriving, self._leaving = {}, {}


class AxisEngine:
    """Axis after axis with persistent requests; contiguous faces are not copied."""

    def __init__(
        self, comm: MPI.Intracomm, decomposition: Decomposition, halo: Halo, memories: Sequence[Memory], cval: Any
    ) -> None:
        rank = comm.rank
        wide = [axis for axis, widths in enumerate(halo.widths) if any(widths)]
        if halo.corners and len(wide) > 1:
            plans = [phase(decomposition, rank, halo, (axis,)) for axis in wide]
        else:
            # Without corners no axis waits for another; all faces go at once.
            plans = [phase(decomposition, rank, halo)]
        stages = [bind(plan, memories) for plan in plans]
        self._stages = [_Stage(comm, stage, cval) for stage in stages]
        self._messages = sum(stage.traffic[0] for stage in stages)
        self._bytes = sum(stage.traffic[1] for stage in stages)

    def start(self) -> None:
        """See `Engine`."""
        tally.sent(self._messages, self._bytes)
        if self._stages:
            self._stages[0].start()

    def finish(self) -> None:
        """See `Engine`."""
        for number, stage in enumerate(self._stages):
            if number:
                stage.start()
            stage.finish()

    def free(self) -> None:
        """See `Engine`."""
        for stage in self._stages:
            stage.free()
        self._stages = []


class _Stage:
    """One phase with persistent requests."""

    def __init__(self, comm: MPI.Intracomm, bound: Bound, cval: Any) -> None:
        self._cval = cval
        self._fills = bound.fills
        self._types: list[MPI.Datatype] = []
        # What the requests point to must outlive them.
        self._kept: list[Any] = []
        self._requests: list[MPI.Prequest] = []
        packs: list[tuple[Array, Array]] = []
        unpacks: list[tuple[Array, Array]] = []
        for rank, todo in bound.receives.items():
            spec, parts = self._spec([view for view, _ in todo], [wire for _, wire in todo])
            unpacks += [(view, part) for (view, _), part in zip(todo, parts, strict=True)] if parts else []
            self._requests.append(comm.Recv_init(spec, rank, TAG))
        for rank, views in bound.sends.items():
            spec, parts = self._spec(views, [view.shape for view in views])
            packs += list(zip(parts, views, strict=True)) if parts else []
            self._requests.append(comm.Send_init(spec, rank, TAG))
        self._pack, self._unpack, self._copy = copier(packs), copier(unpacks), copier(bound.copies)
        self._packs, self._unpacks, self._copies = bool(packs), bool(unpacks), bool(bound.copies or bound.fills)

    def _spec(self, views: list[Array], wires: list[tuple[int, ...]]) -> tuple[Any, list[Array]]:
        """Return what mpi4py is to send or fill, and the staging parts (none: the views' own memory)."""
        if all(v.flags.c_contiguous and v.shape == wire for v, wire in zip(views, wires, strict=True)):
            self._kept.append(views)
            if len(views) == 1:
                return [views[0], views[0].nbytes, MPI.BYTE], []
            sizes, places = [v.nbytes for v in views], [v.ctypes.data for v in views]
            together = MPI.Datatype.Create_struct(sizes, places, [MPI.BYTE] * len(views)).Commit()
            self._types.append(together)
            return [MPI.BOTTOM, 1, together], []
        buffer, parts = _staging([(v.dtype, wire) for v, wire in zip(views, wires, strict=True)])
        self._kept.append(buffer)
        return [buffer, buffer.nbytes, MPI.BYTE], parts

    def start(self) -> None:
        if self._packs:
            turn("pack")
            self._pack()
            turn("halo")
        if self._requests:
            MPI.Prequest.Startall(self._requests)
        if self._copies:
            turn("pack")
            self._copy()
            for view in self._fills:
                view[...] = self._cval
            turn("halo")

    def finish(self) -> None:
        if self._requests:
            MPI.Request.Waitall(self._requests)
        if self._unpacks:
            turn("pack")
            self._unpack()
            turn("halo")

    def free(self) -> None:
        for request in self._requests:
            request.Free()
        for datatype in self._types:
            datatype.Free()
        self._requests, self._types, self._kept = [], [], []


ENGINES: dict[str, type[PlanEngine] | type[AxisEngine]] = {"plan": PlanEngine, "axis": AxisEngine}


def _staging(parts: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> tuple[Array, list[Array]]:
    """Return a byte buffer and, one behind the other in it, an array for every part."""
    sizes = [dtype.itemsize * int(np.prod(shape)) for dtype, shape in parts]
    buffer = np.empty(sum(sizes), np.uint8)
    views, offset = [], 0
    for (dtype, shape), size in zip(parts, sizes, strict=True):
        views.append(buffer[offset : offset + size].view(dtype).reshape(shape))
        offset += size
    return buffer, views
