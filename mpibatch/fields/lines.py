"""Whole lines of an axis that is cut, a piece at a time, and back: what a transform, or a solver, of lines works on.

The ranks along the axis have the same lines, and each a part of every line. They share the lines out: each gets some
of them whole, works on these, and returns to the others their parts of the result. It goes in pieces: while one is
worked on, the next comes in and the one before goes out. So no rank needs memory for more than a few pieces, talks to
any but those along the axis, or sends itself a message; and lines that are whole already are worked on where they lie.

What a step ahead makes of lines along another axis can go into messages as it is made, a piece at a time (`steps`).

Arrays have three axes here: what lies before the axis, the axis, and what lies behind it, components included.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.domain import Blocks
from mpibatch.fields.field import Field
from mpibatch.fields.pencils import alike, are_whole
from mpibatch.fields.plans import planned
from mpibatch.mpi import MPI
from mpibatch.mpi.transfers import MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.fields.grid import Grid

__all__ = ["Cut", "Made", "Messages", "WholeLines", "along_lines", "columns_of", "line_bytes"]

Array = npt.NDArray[Any]
Cut = tuple[slice, slice]  # of the first and the last of three axes
# Fills the second array, whose lines may be of another length and dtype, from the first, which it may change; both hold
# the lines of this cut of the rank's own. Where a field's lines become its own, both are one array.
Work = "Callable[[Array, Array, Cut], None]"

# A piece and its results stay in the cache of a core; a message is large enough to be worth its latency.
PIECE_BYTES, LEAST_MESSAGE = 2 * 2**20, 64 * 2**10
THERE, BACK = 21, 22  # tags

PACK, HALO, COMPUTE = phase("pack"), phase("halo"), phase("compute")


class Made(Protocol):
    """Lines that are made when they are needed, and not before: what takes the place of an array of them."""

    dtype: np.dtype[Any]

    def make(self, cut: Cut) -> Array:
        """Return this rank's part of the lines of a cut. Local.

        The array stays as it is while those of the next piece are made, and no longer.
        """


class _Side:
    """How an axis is cut, before or after the work."""

    def __init__(self, blocks: Blocks, place: int) -> None:
        bounds = [blocks.bounds(part) for part in range(blocks.parts)]
        self.cells = blocks.cells
        self.parts = [slice(low, high) for low, high in bounds]
        self.mine = self.parts[place]
        self.has_cells = [low < high for low, high in bounds]
        self.has_mine = self.has_cells[place]


class WholeLines:
    """Who gets which lines of an axis, in which pieces; holds no field.

    Parameters
    ----------
    grid, new : Grid
        Where the lines lie, and where what becomes of them will lie: of one shape but for the axis, and cut alike.
    axis : int
        Along which they run.
    components : int
        Values in a cell.
    itemsize : int
        Bytes of the larger of both values.
    grains : (int, int)
        How many lines stay together, before the axis and behind it.
    least : int
        Bytes of a piece, at least.
    """

    def __init__(
        self, grid: Grid, new: Grid, axis: int, components: int, itemsize: int,
        grains: tuple[int, int] = (1, 1), least: int | None = None,
    ) -> None:  # fmt: skip
        coords, shape = list(grid.coords), grid.box.shape
        self.place, self.grains = coords[axis], grains
        self.outer = math.prod(shape[:axis]) // grains[0]  # in grains
        self.inner = math.prod(shape[axis + 1 :]) * components // grains[1]
        old_blocks, new_blocks = grid.decomposition.axes[axis], new.decomposition.axes[axis]
        self.sides = _Side(old_blocks, self.place), _Side(new_blocks, self.place)
        self.is_local = old_blocks.parts == 1 or (
            are_whole(grid, axis) and are_whole(new, axis) and old_blocks.owner(0) == new_blocks.owner(0)
        )
        self.ranks = [
            grid.decomposition.rank([*coords[:axis], p, *coords[axis + 1 :]]) for p in range(old_blocks.parts)
        ]
        self._share_out(1 if self.is_local else old_blocks.parts)
        longest = max(side.cells for side in self.sides) * itemsize * math.prod(grains)
        least = _piece_bytes(1 if self.is_local else old_blocks.parts, PIECE_BYTES if least is None else least)
        self._cut(-(-self.outer // self._rows) * -(-self.inner // self._columns) * longest, least)

    def _share_out(self, parts: int) -> None:
        """Share the lines of a block out over so many ranks: as evenly as can be, rather many rows than columns."""
        choices = [(rows, parts // rows) for rows in range(parts, 0, -1) if parts % rows == 0]
        self._rows, self._columns = min(choices, key=lambda c: -(-self.outer // c[0]) * -(-self.inner // c[1]))

    def _cut(self, nbytes: int, least: int) -> None:
        """Cut each rank's share into the same number of pieces, where `nbytes` are those of the largest share."""
        count, outer, inner = -(-nbytes // least), -(-self.outer // self._rows), -(-self.inner // self._columns)
        self._slow = max(1, min(count, outer))
        self._fast = max(1, min(-(-count // self._slow), inner))
        self.pieces = self._slow * self._fast

    def cut(self, place: int, piece: int) -> Cut:
        """Return the lines of a piece of a rank's share, as places in its block. Local."""
        row, column = (place // self._columns, place % self._columns) if not self.is_local else (0, 0)
        slow, fast = divmod(piece, self._fast)
        return (
            _part(Blocks(self.outer, self._rows).bounds(row), self._slow, slow, self.grains[0]),
            _part(Blocks(self.inner, self._columns).bounds(column), self._fast, fast, self.grains[1]),
        )

    def run(self, source: Array | Made, target: Array, comm: MPI.Intracomm, work: Any) -> None:
        """Fill `target` with what `work` makes of `source`, both this rank's of three axes. Collective on the axis.

        Both may be the same array, if a line becomes one of the same length and dtype.
        """
        if not self.outer * self.inner:
            return
        if not self.is_local:
            _Passage(self, source, target, comm).run(work)
        elif self.sides[0].has_mine and target.shape[1]:
            for piece in range(self.pieces):
                rows, columns = cut = self.cut(0, piece)
                lines, result = _lines_of(source, cut), target[rows, :, columns]
                is_spare = not isinstance(source, np.ndarray) and self.is_same(source, target)
                with COMPUTE:
                    work(lines, lines if is_spare else result, cut)
                    if is_spare:
                        result[...] = lines

    def is_same(self, source: Array | Made, target: Array) -> bool:
        """Return whether results may take the place of the lines that they are made of. Local."""
        old, new = self.sides
        is_spare = source is target or not isinstance(source, np.ndarray)
        return is_spare and old.cells == new.cells and source.dtype == target.dtype


class _Passage:
    """One array on its way through whole lines and back."""

    def __init__(self, lines: WholeLines, source: Array | Made, target: Array, comm: MPI.Intracomm) -> None:
        self.lines, self.source, self.target = lines, source, target
        self.there, self.back = Messages(comm, THERE), Messages(comm, BACK)
        rows, columns = lines.cut(lines.place, 0)  # of which no later piece has more
        count = _length(rows) * _length(columns)
        old, new = lines.sides
        # The next piece comes in while one is worked on and the one before goes out; results may lie where lines were.
        self._is_same = lines.is_same(source, target)
        self._whole = [np.empty(count * old.cells, source.dtype) for _ in range(3 if self._is_same else 2)]
        self._results = self._whole
        if not self._is_same:
            self._results = [np.empty(count * new.cells, target.dtype) for _ in range(2)]

    def run(self, work: Any) -> None:
        lines, pieces = self.lines, self.lines.pieces
        coming = self._send_there(0)
        going: tuple[Any, ...] | None = None
        for piece in range(pieces):
            ahead = self._send_there(piece + 1) if piece + 1 < pieces else None
            whole = self._receive(coming, lines.sides[0])
            result = whole if self._is_same else self._array(self._results, piece, lines.sides[1])
            if whole.size or result.size:
                with COMPUTE:
                    work(whole, result, lines.cut(lines.place, piece))
            back = self._send_back(result, piece)
            if going is not None:
                self.back.finish(going[1])
            coming, going = ahead, back
        if going is not None:
            self.back.finish(going[1])

    def _array(self, buffers: list[Array], piece: int, side: _Side) -> Array:
        """The array of whole lines of a piece of this rank's share, in the memory of one that is done with."""
        rows, columns = self.lines.cut(self.lines.place, piece)
        shape = (_length(rows), side.cells, _length(columns))
        return buffers[piece % len(buffers)][: math.prod(shape)].reshape(shape)

    def _send_there(self, piece: int) -> Any:
        """Start to send to each rank this one's part of its lines, and to receive theirs of this rank's lines."""
        lines, old = self.lines, self.lines.sides[0]
        whole = self._array(self._whole, piece, old)
        sends, receives = [], []
        for place, rank in enumerate(lines.ranks):
            if place == lines.place:
                continue
            if old.has_cells[place] and whole.size:
                receives.append((rank, whole[:, old.parts[place], :]))
            if old.has_mine:
                sends.append((rank, _lines_of(self.source, lines.cut(place, piece))))
        if old.has_mine:
            with PACK:
                whole[:, old.mine, :] = _lines_of(self.source, lines.cut(lines.place, piece))
        return whole, self.there.start(sends, receives)

    def _send_back(self, result: Array, piece: int) -> Any:
        """Start to send to each rank its part of this rank's results, and to receive those of this rank's part."""
        lines, new = self.lines, self.lines.sides[1]
        sends, receives = [], []
        for place, rank in enumerate(lines.ranks):
            rows, columns = lines.cut(place, piece)
            if place == lines.place:
                with PACK:
                    self.target[rows, :, columns] = result[:, new.mine, :]
                continue
            if new.has_cells[place] and result.size:
                sends.append((rank, result[:, new.parts[place], :]))
            receives.append((rank, self.target[rows, :, columns]))
        return result, self.back.start(sends, receives)

    def _receive(self, coming: Any, side: _Side) -> Array:
        self.there.finish(coming[1])
        whole: Array = coming[0]
        assert whole.shape[1] == side.cells
        return whole


class Messages:
    """Messages of views, and the memory that they pass through: used again, as the system clears all that it gives.

    `start` returns what `finish` needs.
    """

    def __init__(self, comm: MPI.Intracomm, tag: int) -> None:
        self._comm, self._tag = comm, tag
        self._free: list[npt.NDArray[np.uint8]] = []

    def take(self, shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[Array, npt.NDArray[np.uint8]]:
        """Return an array of any values, and the memory to be given back. Local."""
        nbytes = math.prod(shape) * dtype.itemsize
        fitting = (number for number, memory in enumerate(self._free) if memory.size >= nbytes)
        number = next(fitting, None)
        memory = np.empty(nbytes, np.uint8) if number is None else self._free.pop(number)
        return memory[:nbytes].view(dtype).reshape(shape), memory

    def give(self, memory: npt.NDArray[np.uint8]) -> None:
        """Give memory back. Local."""
        self._free.append(memory)

    def start(self, sends: list[tuple[int, Array]], receives: list[tuple[int, Array]]) -> Any:
        """Start messages to and from ranks."""
        requests: list[MPI.Request] = []
        kept: list[Array] = []
        arrived: list[tuple[Array, Array]] = []
        for rank, view in receives:
            if view.size:
                buffer = view
                if not view.flags.c_contiguous:
                    buffer, memory = self.take(view.shape, view.dtype)
                    arrived.append((view, buffer))
                    kept.append(memory)
                requests += [self._comm.Irecv(part, rank, self._tag) for part in _messages(buffer)]
        sent = []
        for rank, view in sends:
            if view.size:
                sent.append(view)
                if not view.flags.c_contiguous:
                    with PACK:
                        sent[-1], memory = self.take(view.shape, view.dtype)
                        sent[-1][...] = view
                    kept.append(memory)
                requests += [self._comm.Isend(part, rank, self._tag) for part in _messages(sent[-1])]
        return requests, kept, arrived, sent

    def finish(self, moving: Any) -> None:
        """Wait for messages, and put what came in its place."""
        requests, kept, arrived, _ = moving
        with HALO:
            MPI.Request.Waitall(requests)
        with PACK:
            for view, buffer in arrived:
                view[...] = buffer
        self._free += kept


def _messages(buffer: Array) -> Iterator[list[Any]]:
    flat = buffer.reshape(-1).view(np.uint8)
    for low in range(0, flat.size, MESSAGE_BYTES):
        part = flat[low : low + MESSAGE_BYTES]
        yield [part, part.size, MPI.BYTE]


def _lines_of(source: Array | Made, cut: Cut) -> Array:
    return source[cut[0], :, cut[1]] if isinstance(source, np.ndarray) else source.make(cut)


def _part(bounds: tuple[int, int], parts: int, part: int, grain: int) -> slice:
    low, high = Blocks(bounds[1] - bounds[0], parts).bounds(part)
    return slice((bounds[0] + low) * grain, (bounds[0] + high) * grain)


def _length(cut: slice) -> int:
    return int(cut.stop - cut.start)


def _piece_bytes(parts: int, least: int) -> int:
    """Return the bytes of a piece where so many ranks share lines. Local."""
    return max(least, parts * LEAST_MESSAGE)


def line_bytes(u: Field, axis: int, cells: int, itemsize: int) -> int:
    """Return the bytes that a rank needs beside its fields, at most, to have whole lines; the same on all. Local.

    Two pieces before and two after the work, what is sent and received of as many, and as much as the work needs.
    """
    parts = u.grid.topology[axis]
    longest = max(cells, u.grid.shape[axis]) * max(itemsize, u.dtype.itemsize)
    return (10 if parts > 1 else 2) * max(longest, _piece_bytes(parts, PIECE_BYTES))


def along_lines(u: Field, axis: int, cells: int, dtype: npt.DTypeLike, work: Any, into: Field | None = None) -> Field:
    """Return a field of what `work` makes of the whole lines of another along an axis. Collective.

    Parameters
    ----------
    u : Field
        Of any halo, which is not read.
    axis : int
        A grid axis, from 0.
    cells : int
        Of the lines that `work` makes; the result is on `u.grid`, or on one that is `alike`.
    dtype : dtype_like
        Of the result.
    work : callable
        Takes an array of whole lines along its second axis, which it may change only if `into` is `u`, one to fill,
        and the cut of this rank's lines (see `WholeLines`) that they are of.
    into : Field, optional
        The field that is to have the result: `u` itself, if neither cells nor dtype change.
    """
    grid = u.grid
    new = alike(grid, [*grid.shape[:axis], cells, *grid.shape[axis + 1 :]])
    result = Field(new, dtype, 0, u.components) if into is None else into
    values, itemsize = math.prod(u.components), max(u.dtype.itemsize, result.dtype.itemsize)
    lines: WholeLines = planned(
        grid, ("lines", axis, cells, values, itemsize), lambda: WholeLines(grid, new, axis, values, itemsize)
    )
    source = columns_of(u.owned, axis)
    lines.run(source, source if result is u else columns_of(result.owned, axis), grid.comm, work)
    return result


def columns_of(array: Array, axis: int) -> Array:
    """Return an array as (before, axis, behind): a view of it if it has no halo around it. Local."""
    shape = array.shape
    return array.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
