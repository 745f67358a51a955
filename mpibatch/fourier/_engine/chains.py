"""Chains of moves: where several axes are cut, lines go on from axis to axis, and home only once.

A process grid of axes i, j cuts a field of pencils along two of its axes. To make one of these whole, the ranks along
i alone exchange cells: what i cut is whole then, and another axis is cut by i instead. So each rank talks to those of
its row or column of the process grid, and a transform along k axes that are cut takes k moves and one home, instead
of 2k (N. Li, S. Laizet, "2DECOMP&FFT", CUG 2010; D. Pekurovsky, doi:10.1137/11082748X).

While one piece of what arrives is worked on, the next is under way.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.domain import Blocks, Box
from mpibatch.fields.field import Field
from mpibatch.fields.lines import LEAST_MESSAGE, PIECE_BYTES, columns_of, finish, start
from mpibatch.fields.plans import planned
from mpibatch.fields.redistribution import Ways

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mpibatch.domain import Decomposition
    from mpibatch.fields.grid import Grid
    from mpibatch.fields.redistribution import Layout
    from mpibatch.fields.steps import Step

__all__ = ["Chain", "Turned", "chain_of", "route"]

Array = npt.NDArray[Any]

TAG = 23
COMPUTE = phase("compute")


@dataclass(frozen=True, slots=True)
class Turned:
    """Who owns what where the axes of a field are cut along other axes of the process grid than their own.

    Attributes
    ----------
    topology : ranks along each axis of the process grid.
    axes : how each axis of the field is cut.
    ways : along which axes of the process grid it is, the slowest first.
    """

    topology: tuple[int, ...]
    axes: tuple[Blocks, ...]
    ways: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, decomposition: Decomposition) -> Turned:
        """Return a decomposition as it is. Local."""
        topology = decomposition.topology
        ways = tuple((axis,) if parts > 1 else () for axis, parts in enumerate(topology))
        return cls(topology, decomposition.axes, ways)

    def turned(self, axis: int, other: int) -> Turned:
        """Return what leaves `axis` whole: another is cut along its ways, too. Local."""
        ways, axes = list(self.ways), list(self.axes)
        ways[axis], ways[other] = (), self.ways[other] + self.ways[axis]
        for one in (axis, other):
            axes[one] = Blocks(axes[one].cells, self.parts(ways[one]))
        return replace(self, axes=tuple(axes), ways=tuple(ways))

    def resized(self, axis: int, cells: int) -> Turned:
        """Return it with another number of cells along an axis that is whole. Local."""
        axes = (*self.axes[:axis], Blocks(cells, 1), *self.axes[axis + 1 :])
        return self if self.axes[axis].cells == cells else replace(self, axes=axes)

    def parts(self, ways: Iterable[int]) -> int:
        """Return the ranks along axes of the process grid. Local."""
        return math.prod(self.topology[way] for way in ways)

    def largest(self) -> list[int]:
        """Return the most cells of a block along each axis. Local."""
        return [max(high - low for low, high in map(blocks.bounds, range(blocks.parts))) for blocks in self.axes]

    def box(self, rank: int) -> Box:
        """Return the cells that a rank owns. Local."""
        coords = np.unravel_index(rank, self.topology)
        bounds = []
        for blocks, ways in zip(self.axes, self.ways, strict=True):
            part = 0
            for way in ways:
                part = part * self.topology[way] + int(coords[way])
            bounds.append(blocks.bounds(part))
        return Box(tuple(low for low, _ in bounds), tuple(high for _, high in bounds))

    def overlapping(self, box: Box) -> Iterator[int]:
        """Yield the ranks that own a cell of a box. Local."""
        if not box.size:
            return
        owners = [
            blocks.overlapping(low, high) for blocks, low, high in zip(self.axes, box.start, box.stop, strict=True)
        ]
        for parts in itertools.product(*owners):
            coords = [0] * len(self.topology)
            for part, ways in zip(parts, self.ways, strict=True):
                for way in reversed(ways):
                    part, coords[way] = divmod(part, self.topology[way])  # noqa: PLW2901 - digit by digit
            yield int(np.ravel_multi_index(coords, self.topology))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of every block, cut along an axis."""

    layout: Layout
    axis: int
    piece: int
    pieces: int

    def box(self, rank: int) -> Box:
        box = self.layout.box(rank)
        low, high = Blocks(box.shape[self.axis], self.pieces).bounds(self.piece)
        start, stop = list(box.start), list(box.stop)
        start[self.axis], stop[self.axis] = box.start[self.axis] + low, box.start[self.axis] + high
        return Box(tuple(start), tuple(stop))

    def overlapping(self, box: Box) -> Iterable[int]:
        return self.layout.overlapping(box)


def route(layout: Turned, axes: Sequence[int], cells: Sequence[int]) -> list[Turned] | None:
    """Return for each of several axes a layout that leaves it whole, one after the other. Local, the same on all ranks.

    None if there are fewer than two moves, if one would be between all ranks, or if ranks would have next to nothing
    to do. Of all others, the one of which no move is between many ranks, and blocks are small.
    """
    best: tuple[tuple[int, int], list[Turned]] | None = None
    for layouts, partners in _routes(layout, list(zip(axes, cells, strict=True))):
        sizes = [math.prod(one.largest()) for one in layouts]
        evens = [math.prod(blocks.cells for blocks in one.axes) / math.prod(one.topology) for one in layouts]
        is_even = all(size < 2 * even for size, even in zip(sizes, evens, strict=True))
        if len(partners) < 2 or max(partners) == math.prod(layout.topology) or not is_even:
            continue
        cost = max(partners), sum(sizes)
        if best is None or cost < best[0]:
            best = cost, layouts
    return None if best is None else best[1]


def _routes(layout: Turned, steps: list[tuple[int, int]]) -> Iterator[tuple[list[Turned], list[int]]]:
    """Yield all ways to make one axis after the other whole, and between how many ranks each of the moves is."""
    if not steps:
        yield [], []
        return
    (axis, cells), *left = steps
    ways = layout.ways[axis]
    others = [other for other in range(len(layout.axes)) if other != axis] if ways else [axis]
    for other in others:
        next_ = layout.turned(axis, other) if ways else layout
        for layouts, partners in _routes(next_.resized(axis, cells), left):
            yield [next_, *layouts], [layout.parts(ways), *partners] if ways else partners


class Chain:
    """A planned chain; holds no field.

    Parameters
    ----------
    grid, new : where the field lies, and where what becomes of it shall.
    layouts : of each step, before the number of cells changes (see `route`).
    axes, cells : of the steps.
    itemsize : bytes of the largest of all values, components included.
    """

    def __init__(
        self, grid: Grid, new: Grid, layouts: list[Turned], axes: Sequence[int], cells: Sequence[int], itemsize: int
    ) -> None:  # fmt: skip
        self.new, self.rank = new, grid.rank
        self.moves: list[_Move | None] = []
        old = Turned.of(grid.decomposition)
        for layout, axis, n in zip(layouts, axes, cells, strict=True):
            self.moves.append(None if layout == old else _Move(grid.rank, old, layout, itemsize))
            old = layout.resized(axis, n)
        self.home = Ways.between(grid.rank, old, new.decomposition)
        # Before and after a step, and what is under way.
        self.bytes = 3 * itemsize * max(math.prod(layout.largest()) for layout in layouts)

    def run(self, u: Field, steps: Sequence[Step]) -> Field:
        """Return what becomes of a field. Collective."""
        array, comm = u.owned, u.grid.comm
        is_spare = False
        for step, move in zip(steps, self.moves, strict=True):
            array = _worked(array, step, is_spare=is_spare) if move is None else move.carry(comm, array, step)
            is_spare = True
        result = Field(self.new, steps[-1].dtype, 0, u.components)
        self.home.carry(comm, array, result.owned)
        return result


class _Move:
    """The way from one layout to another, in pieces along an axis that both cut alike."""

    def __init__(self, rank: int, old: Turned, new: Turned, itemsize: int) -> None:
        largest, box = new.largest(), new.box(rank)
        alike = [axis for axis, pair in enumerate(zip(old.ways, new.ways, strict=True)) if pair[0] == pair[1]]
        self.shape, self.axis = box.shape, max(alike, key=lambda axis: largest[axis], default=0)
        partners = old.parts(way for ways, other in zip(old.ways, new.ways, strict=True) for way in {*ways} - {*other})
        count = -(-math.prod(largest) * itemsize // max(PIECE_BYTES, partners * LEAST_MESSAGE))
        pieces = max(1, min(count, largest[self.axis])) if alike else 1
        self.pieces = []
        for piece in range(pieces):
            there, here = (_Piece(layout, self.axis, piece, pieces) for layout in (old, new))
            self.pieces.append(
                (self._cut(old, there, rank), self._cut(new, here, rank), Ways.between(rank, there, here))
            )  # fmt: skip

    def _cut(self, layout: Turned, piece: _Piece, rank: int) -> tuple[slice, ...]:
        return piece.box(rank).slices(layout.box(rank).start)

    def carry(self, comm: Any, source: Array, step: Step) -> Array:
        """Return what a step makes of an array that is brought to the new layout. Collective."""
        ndim = len(self.shape)
        shape = (*self.shape[: step.axis], step.cells, *self.shape[step.axis + 1 :], *source.shape[ndim:])
        target = np.empty(shape, step.dtype)
        coming = self._start(comm, source, 0)
        for number, (_, cut, _) in enumerate(self.pieces):
            ahead = self._start(comm, source, number + 1) if number + 1 < len(self.pieces) else None
            piece, moving = coming
            finish(moving)
            # The axis of the step is whole, and pieces are cut along another one.
            target[(*cut[: step.axis], slice(None), *cut[step.axis + 1 :])] = _worked(piece, step, is_spare=True)
            coming = ahead
        return target

    def _start(self, comm: Any, source: Array, number: int) -> Any:
        leaving, arriving, ways = self.pieces[number]
        view = source[leaving]
        piece = np.empty([*(c.stop - c.start for c in arriving), *source.shape[len(self.shape) :]], source.dtype)
        sends = [(to, view[cut]) for to, cut in ways.sends]
        receives = [(giver, piece[cut]) for giver, cut in ways.receives]
        moving = start(comm, sends, receives, TAG)
        for to, cut in ways.copies:
            piece[to] = view[cut]
        return piece, moving


def _worked(array: Array, step: Step, *, is_spare: bool) -> Array:
    """Return what a step makes of whole lines, in pieces that stay in cache; in their place where it can be. Local."""
    shape = (*array.shape[: step.axis], step.cells, *array.shape[step.axis + 1 :])
    is_same = is_spare and shape == array.shape and step.dtype == array.dtype and array.flags.c_contiguous
    result = array if is_same else np.empty(shape, step.dtype)
    source, target = columns_of(array, step.axis), columns_of(result, step.axis)
    if not source.size or not target.size:
        return result
    with COMPUTE:
        count = -(-max(source.nbytes, target.nbytes) // PIECE_BYTES)
        slow = min(count, len(source))
        rows, columns = Blocks(len(source), slow), Blocks(source.shape[2], min(-(-count // slow), source.shape[2]))
        for row, column in itertools.product(range(rows.parts), range(columns.parts)):
            cut = slice(*rows.bounds(row)), slice(*columns.bounds(column))
            step.work(source[cut[0], :, cut[1]], target[cut[0], :, cut[1]], cut)
    return result


def chain_of(u: Field, steps: Sequence[Step]) -> Chain | None:
    """Return the chain of some steps, planned once; None where each axis by itself is as good. Collective."""
    axes, cells = [step.axis for step in steps], [step.cells for step in steps]
    grid = u.grid
    if sum(grid.topology[axis] > 1 for axis in {*axes}) < 2:
        return None
    itemsize = math.prod(u.components) * max(u.dtype.itemsize, *(step.dtype.itemsize for step in steps))
    key = ("chain", *axes, *cells, itemsize)
    kept: tuple[Chain | None] = planned(grid, key, lambda: (_made(grid, steps, itemsize),))
    return kept[0]


def _made(grid: Grid, steps: Sequence[Step], itemsize: int) -> Chain | None:
    axes, cells = [step.axis for step in steps], [step.cells for step in steps]
    layouts = route(Turned.of(grid.decomposition), axes, cells)
    if layouts is None:
        return None
    new = grid
    for step in steps:
        new = step.after(new)
    return Chain(grid, new, layouts, axes, cells, itemsize)
