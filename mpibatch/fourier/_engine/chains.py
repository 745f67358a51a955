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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.timing import phase
from mpibatch.domain import Blocks, Box
from mpibatch.domain.turns import Turned, route
from mpibatch.fields.field import Field
from mpibatch.fields.lines import LEAST_MESSAGE, PIECE_BYTES, Messages, columns_of
from mpibatch.fields.plans import planned
from mpibatch.fields.redistribution import Ways

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.fields.grid import Grid
    from mpibatch.fields.redistribution import Layout
    from mpibatch.fields.steps import AxisStep

__all__ = ["PencilChain", "chain_of"]

Array = npt.NDArray[Any]

TAG = 23
COMPUTE = phase("compute")


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


class PencilChain:
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
        self.moves: list[_Redistribution | None] = []
        old = Turned.of(grid.decomposition)
        for layout, axis, n in zip(layouts, axes, cells, strict=True):
            self.moves.append(None if layout == old else _Redistribution(grid.rank, old, layout, itemsize))
            old = layout.resized(axis, n)
        self.home = Ways.between(grid.rank, old, new.decomposition)
        # Before and after a step, and what is under way.
        self.bytes = 3 * itemsize * max(math.prod(layout.largest()) for layout in layouts)

    def run(self, u: Field, steps: Sequence[AxisStep]) -> Field:
        """Return what becomes of a field. Collective."""
        array, comm = u.owned, u.grid.comm
        is_spare = False
        for step, move in zip(steps, self.moves, strict=True):
            array = _worked(array, step, is_spare=is_spare) if move is None else move.carry(comm, array, step)
            is_spare = True
        result = Field(self.new, steps[-1].dtype, 0, u.components)
        self.home.carry(comm, array, result.owned)
        return result


class _Redistribution:
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
            before, after = (_Piece(layout, self.axis, piece, pieces) for layout in (old, new))
            self.pieces.append(
                (self._cut(old, before, rank), self._cut(new, after, rank), Ways.between(rank, before, after))
            )  # fmt: skip

    def _cut(self, layout: Turned, piece: _Piece, rank: int) -> tuple[slice, ...]:
        return piece.box(rank).slices(layout.box(rank).start)

    def carry(self, comm: Any, source: Array, step: AxisStep) -> Array:
        """Return what a step makes of an array that is brought to the new layout. Collective."""
        ndim = len(self.shape)
        shape = (*self.shape[: step.axis], step.cells, *self.shape[step.axis + 1 :], *source.shape[ndim:])
        target = np.empty(shape, step.dtype)
        messages = Messages(comm, TAG)
        coming = self._start(messages, source, 0)
        for number, (_, cut, _) in enumerate(self.pieces):
            ahead = self._start(messages, source, number + 1) if number + 1 < len(self.pieces) else None
            piece, memory, moving = coming
            messages.finish(moving)
            # The axis of the step is whole, and pieces are cut along another one.
            target[(*cut[: step.axis], slice(None), *cut[step.axis + 1 :])] = _worked(piece, step, is_spare=True)
            messages.give(memory)
            coming = ahead
        return target

    def _start(self, messages: Messages, source: Array, number: int) -> Any:
        leaving, arriving, ways = self.pieces[number]
        view = source[leaving]
        shape = [*(c.stop - c.start for c in arriving), *source.shape[len(self.shape) :]]
        piece, memory = messages.take(shape, source.dtype)
        sends = [(to, view[cut]) for to, cut in ways.sends]
        receives = [(giver, piece[cut]) for giver, cut in ways.receives]
        moving = messages.start(sends, receives)
        for to, cut in ways.copies:
            piece[to] = view[cut]
        return piece, memory, moving


def _worked(array: Array, step: AxisStep, *, is_spare: bool) -> Array:
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


def chain_of(u: Field, steps: Sequence[AxisStep]) -> PencilChain | None:
    """Return the chain of some steps, planned once; None where each axis by itself is as good. Collective."""
    axes, cells = [step.axis for step in steps], [step.cells for step in steps]
    grid = u.grid
    if sum(grid.topology[axis] > 1 for axis in {*axes}) < 2:
        return None
    itemsize = math.prod(u.components) * max(u.dtype.itemsize, *(step.dtype.itemsize for step in steps))
    key = ("chain", *axes, *cells, itemsize)
    kept: tuple[PencilChain | None] = planned(grid, key, lambda: (_made(grid, steps, itemsize),))
    return kept[0]


def _made(grid: Grid, steps: Sequence[AxisStep], itemsize: int) -> PencilChain | None:
    axes, cells = [step.axis for step in steps], [step.cells for step in steps]
    layouts = route(Turned.of(grid.decomposition), axes, cells)
    if layouts is None:
        return None
    new = grid
    for step in steps:
        new = step.after(new)
    return PencilChain(grid, new, layouts, axes, cells, itemsize)
