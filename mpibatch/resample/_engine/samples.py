"""Values of a field between its cells: what is read for a block of results, fetched in pieces that fit, and read.

For each axis, the indices that are read are a mask; their product is fetched, packed. So neither a seam of an axis that
wraps, nor a rotated block, brings more than the rows and columns that are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.base.host import LIMIT_VARIABLE, allowed_memory
from mpibatch.base.timing import phase as timed
from mpibatch.base.units import bytes_text
from mpibatch.domain import Box
from mpibatch.fields.field import Field
from mpibatch.fields.grid import Grid
from mpibatch.fields.parcels import Runs, fetch, length, runs_of
from mpibatch.mpi import MPI, agreed
from mpibatch.resample._engine.coefficients import filter_axis, padding_of
from mpibatch.resample._loops import samples as loops

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Coefficients", "Packed", "SampleRequest", "coefficients_of", "converted", "fill", "mapped", "resample"]

Array = npt.NDArray[Any]
I8 = npt.NDArray[np.int64]

MARGIN = loops.MARGIN
LEAST = 256 * 2**20  # bytes that may be fetched at once anyway
FEW = 1024  # results of which no smaller pieces are made


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What values between cells are made of: coefficients, or cells as they are.

    Attributes
    ----------
    field : of the coefficients; beyond each wall it has `pads` cells more than the field that they were made of.
    lengths, pads, modes : of each axis; modes as `_loops.samples` numbers them.
    between : for each axis whether values are wanted between its cells; along others planes are taken as they are.
    order, cval : of the interpolation.
    """

    field: Field
    lengths: tuple[int, ...]
    pads: tuple[int, ...]
    modes: tuple[int, ...]
    between: tuple[bool, ...]
    order: int
    cval: float

    def along(self, axes: Sequence[int]) -> Coefficients:
        """Return the same of some axes, for requests that go through planes of these. Local."""
        lengths, pads, modes = (tuple(v[axis] for axis in axes) for v in (self.lengths, self.pads, self.modes))
        between = tuple(self.between[axis] for axis in axes)
        return replace(self, lengths=lengths, pads=pads, modes=modes, between=between)

    def read_by(self, axis: int, firsts: I8) -> npt.NDArray[np.bool_]:
        """Return which cells along an axis are read by splines that begin at some indices. Local."""
        mask = np.zeros(self.lengths[axis], np.bool_)
        for offset in range(self.order + 1 if self.between[axis] else 1):
            cells = mapped(firsts + offset, len(mask), self.modes[axis])
            mask[cells[cells >= 0]] = True
        return mask

    def table(self, axis: int, runs: Runs) -> I8:
        """Return the place of each index, from `MARGIN` before the wall on, among packed cells; -1: none. Local."""
        n = self.lengths[axis]
        places = np.full(n + 1, -1, np.int64)
        at = 0
        for low, high in runs:
            places[low:high] = np.arange(at, at + high - low)
            at += high - low
        return places[mapped(np.arange(-MARGIN, n + MARGIN), n, self.modes[axis])]


def mapped(index: I8, n: int, mode: int) -> I8:
    """Return the cell that is read for each index, also beyond a wall; -1 for `cval`. Local."""
    if mode == loops.GRID_CONSTANT:
        return np.where((index < 0) | (index >= n), -1, index)
    if mode == loops.NEAREST or n == 1:
        return np.clip(index, 0, n - 1)
    if mode == loops.GRID_WRAP:
        return index % n
    if mode == loops.REFLECT:
        folded = index % (2 * n)
        return np.minimum(folded, 2 * n - 1 - folded)
    folded = index % (2 * n - 2)
    return np.minimum(folded, 2 * n - 2 - folded)


def coefficients_of(
    u: Field, order: int, mode: str, cval: float, *, prefilter: bool, axes: Sequence[int] | None = None
) -> Coefficients:
    """Return what values of `u` between its cells are made of; along some axes, or all. Collective."""
    wraps, ndim = u.grid.periodic, u.grid.ndim
    chosen = range(ndim) if axes is None else axes
    between = tuple(axis in chosen for axis in range(ndim))
    modes = tuple(loops.GRID_WRAP if wrap else loops.MODES[mode] for wrap in wraps)
    if order < 2 or not prefilter:
        return Coefficients(
            field=u, lengths=u.grid.shape, pads=(0,) * ndim, modes=modes, between=between, order=order, cval=cval
        )
    pads = tuple(padding_of(mode) if ours and not wrap else 0 for ours, wrap in zip(between, wraps, strict=True))
    field = _padded(u, pads, mode, cval) if any(pads) else u.like("f8", 0)
    if not any(pads):
        field.owned[...] = u.owned
    for axis in chosen:
        filter_axis(field, axis, order, mode)
    return Coefficients(
        field=field, lengths=field.grid.shape, pads=pads, modes=modes, between=between, order=order, cval=cval
    )


def _padded(u: Field, pads: tuple[int, ...], mode: str, cval: float) -> Field:
    """Return a field of f8 with more cells beyond each wall. Collective."""
    grid = u.grid
    sizes: list[list[int]] = []
    for blocks, pad in zip(grid.decomposition.axes, pads, strict=True):
        widths = [high - low for low, high in map(blocks.bounds, range(blocks.parts))]
        widths[0] += pad
        widths[-1] += pad
        sizes.append(widths)
    shape = tuple(n + 2 * pad for n, pad in zip(grid.shape, pads, strict=True))
    wide = Field(Grid(shape, comm=grid.comm, topology=grid.topology, sizes=sizes, periodic=grid.periodic),
                 "f8", 0, u.components)  # fmt: skip
    places, needs, outside = [], [], []
    for n, pad, low, high in zip(grid.shape, pads, wide.box.start, wide.box.stop, strict=True):
        index = np.arange(low, high) - pad
        cells = np.clip(index, 0, n - 1)
        first = int(cells.min()) if wide.owned.size else 0
        needs.append([(first, int(cells.max()) + 1)] if wide.owned.size else [])
        places.append(cells - first)
        outside.append(index != cells)
    packed = fetch(u, needs)
    if wide.owned.size:
        wide.owned[...] = packed[np.ix_(*places)]
        if mode == "grid-constant":
            value = cast(np.asarray([cval]), u.dtype)[0]  # as NumPy pads
            for axis, mask in enumerate(outside):
                wide.owned[(slice(None),) * axis + (mask,)] = value
    return wide


@dataclass(frozen=True, slots=True)
class Packed:
    """Fetched cells, in the form in which compiled loops read them; `arguments` in their order."""

    cells: Array  # of one component, flat
    shape: tuple[int, ...]
    runs: I8  # the longest one along each axis
    table: I8

    def arguments(self, c: Coefficients) -> tuple[Any, Any, Any, Any, Any]:
        """Return cells, strides, lengths, modes and table. Local."""
        strides = np.ones(len(self.shape), np.int64)
        for axis in range(len(self.shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * self.shape[axis + 1]
        return self.cells, strides, np.array(c.lengths, np.int64), np.array(c.modes, np.int64), self.table


class SampleRequest(Protocol):
    """Results that this rank wants: a box of the owned cells of the field that they go to, from 0."""

    @property
    def box(self) -> Box:
        """Where. Local."""

    def firsts(self, c: Coefficients) -> list[I8]:
        """The first indices that are read, for each axis. Local."""

    def part(self, box: Box) -> SampleRequest:
        """The same for a smaller box. Local."""

    def sample(self, c: Coefficients, packed: Packed, out: Array) -> None:
        """Write the values to a contiguous array of f8 in the shape of the box. Local."""


def resample(name: str, c: Coefficients, request: SampleRequest, result: Field) -> Field:
    """Fill a field with values between the cells of another one. Collective."""
    fill(name, c, request, result.owned)
    return result


def fill(name: str, c: Coefficients, request: SampleRequest, out: Array) -> None:
    """Fill an array, of the request's box and the field's components, with values between its cells. Collective."""
    comm = c.field.grid.comm
    with agreed(comm, name), timed("compute"):
        limit = allowed_memory()
        room = limit or max(LEAST, 4 * (c.field.owned.nbytes + out.nbytes))
        pieces = list(_pieces(name, c, request, room)) if request.box.size else []
    with timed("halo"):
        rounds = comm.allreduce(len(pieces), op=MPI.MAX)
    for turn in range(rounds):
        piece, needs = pieces[turn] if turn < len(pieces) else (None, [[] for _ in c.lengths])
        cells = fetch(c.field, needs)
        if piece is None:
            continue
        with timed("compute"):
            table = np.full((len(needs), max(c.lengths) + 2 * MARGIN), -1, np.int64)
            longest = np.zeros((len(needs), 2), np.int64)
            for axis, runs in enumerate(needs):
                line = c.table(axis, runs)
                table[axis, : len(line)] = line
                longest[axis] = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
            shape = tuple(map(length, needs))
            target = out[piece.box.slices()]
            for index in np.ndindex(*c.field.components):
                flat = np.ascontiguousarray(cells[(..., *index)], np.float64).reshape(-1)
                cells_of_result = target[(..., *index)]
                is_direct = out.dtype == np.float64 and cells_of_result.flags.c_contiguous
                values = cells_of_result if is_direct else np.empty(piece.box.shape)
                piece.sample(c, Packed(flat, shape, longest, table), values)
                if not is_direct:
                    cells_of_result[...] = converted(values, out.dtype)


def _pieces(
    name: str, c: Coefficients, request: SampleRequest, room: int
) -> Iterator[tuple[SampleRequest, list[Runs]]]:
    """Yield parts of a request, and what each needs, in at most so many bytes. Local."""
    needs = [runs_of(c.read_by(axis, firsts)) for axis, firsts in enumerate(request.firsts(c))]
    mine = c.field.box
    bounds = list(zip(needs, mine.start, mine.stop, strict=True))
    if all(low <= runs[0][0] and runs[-1][1] <= high if runs else True for runs, low, high in bounds):
        # No messages: the block as it lies, which may spare a copy.
        is_none = not all(needs) or not c.field.owned.size
        yield request, [[] if is_none else [(low, high)] for _, low, high in bounds]
        return
    size = math.prod(map(length, needs)) * math.prod(c.field.components) * (c.field.dtype.itemsize + 8)
    if size <= room:
        yield request, needs if all(needs) else [[] for _ in needs]
        return
    if request.box.size <= FEW:
        raise UsageError(
            f"{name}: {request.box.size} results read cells all over the field, {bytes_text(size)} of them, and "
            f"{bytes_text(room)} are allowed; sort the coordinates, so that results near one another read cells near "
            f"one another, or set {LIMIT_VARIABLE} if there is more memory"
        )
    shape = request.box.shape
    axis = shape.index(max(shape))
    start, stop = request.box.start, request.box.stop
    middle = (start[axis] + stop[axis]) // 2
    for low, high in ((start[axis], middle), (middle, stop[axis])):
        box = Box((*start[:axis], low, *start[axis + 1 :]), (*stop[:axis], high, *stop[axis + 1 :]))
        yield from _pieces(name, c, request.part(box), room)


def converted(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values as scipy.ndimage stores them: integers rounded, half away from zero, and cut to their range."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    if dtype.kind == "b":
        return np.not_equal(cast(values, np.uint8), 0)  # C's conversion, which drops what is behind the point
    limits = np.iinfo(dtype)
    if dtype.kind == "u":
        rounded = np.where(values > 0, values + 0.5, 0.0)
    else:
        rounded = np.where(values > 0, values + 0.5, values - 0.5)
    rounded = np.where(rounded > float(limits.max), float(limits.max), rounded)
    rounded = np.where(rounded < float(limits.min), float(limits.min), rounded)
    return cast(rounded, dtype)
