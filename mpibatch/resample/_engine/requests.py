"""What results are read at: the points of a mesh, of an affine map, or any."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.domain import Box
from mpibatch.filters._engine.parts import CELLS
from mpibatch.resample._loops import samples as loops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.resample._engine.samples import Coefficients, Packed

__all__ = ["Affine", "Mesh", "Planes", "Points"]

Array = npt.NDArray[Any]
I8 = npt.NDArray[np.int64]

MARGIN = loops.MARGIN


@dataclass(frozen=True, slots=True)
class Mesh:
    """The points of a mesh: a line of coordinates for each axis."""

    box: Box
    lines: Sequence[Array]

    def part(self, box: Box) -> Mesh:
        """Return the same for a smaller box. Local."""
        cuts = box.slices(self.box.start)
        return Mesh(box, [line[cut] for line, cut in zip(self.lines, cuts, strict=True)])

    def _tables(self, c: Coefficients) -> tuple[I8, Array]:
        axes, longest = len(self.lines), max(map(len, self.lines))
        firsts, weights = np.zeros((axes, longest), np.int64), np.zeros((axes, longest, 6))
        for axis, line in enumerate(self.lines):
            x = line + float(c.pads[axis])
            loops.tabulate(x, c.lengths[axis], c.modes[axis], c.order, firsts[axis], weights[axis])
        return firsts, weights

    def firsts(self, c: Coefficients) -> list[I8]:
        """Return the first indices that are read, for each axis. Local."""
        firsts, weights = self._tables(c)
        return [
            np.unique(row[:n][~np.isnan(weight[:n, 0])])
            for row, weight, n in zip(firsts, weights, map(len, self.lines), strict=True)
        ]

    def sample(self, c: Coefficients, packed: Packed, out: Array) -> None:
        """Write the values. Local."""
        firsts, weights = self._tables(c)
        cells, strides, lengths, _, table = packed.arguments(c)
        loops.sample_axes(
            firsts, weights, np.array(out.shape), c.order, c.cval, cells, strides, lengths, table, out.reshape(-1)
        )


@dataclass(frozen=True, slots=True)
class Affine:
    """The points ``offset + matrix @ index`` of a box of global indices."""

    box: Box
    corner: tuple[int, ...]  # global index of the owned cells' first one
    matrix: Array
    offset: Array

    def part(self, box: Box) -> Affine:
        """Return the same for a smaller box. Local."""
        return Affine(box, self.corner, self.matrix, self.offset)

    def _begin(self) -> list[int]:
        return [a + b for a, b in zip(self.corner, self.box.start, strict=True)]

    def firsts(self, c: Coefficients) -> list[I8]:
        """Return the first indices that are read, and a few around them, for each axis. Local."""
        begin = np.array(self._begin(), np.float64)
        ends = np.stack([begin, begin + np.array(self.box.shape) - 1])
        firsts = []
        for axis, row in enumerate(self.matrix):
            n = c.lengths[axis]
            reached = ends * row
            low = float(self.offset[axis] + c.pads[axis] + reached.min(axis=0).sum())
            high = float(self.offset[axis] + c.pads[axis] + reached.max(axis=0).sum())
            every = np.arange(-MARGIN, n + MARGIN - c.order)
            if high - low > 4 * n + 4 * MARGIN or max(abs(low), abs(high)) > 2**48:
                firsts.append(every)
                continue
            # Folding keeps distances, but for jumps at whole and half numbers: four points a cell, and two cells more.
            line = np.arange(4 * (math.floor(low) - 1), 4 * (math.ceil(high) + 1) + 1) / 4
            marks = _marked(line[np.newaxis], [0], c, [axis])[0]
            for _ in range(2):
                marks[1:-1] |= marks[2:] | marks[:-2]
            firsts.append(every[marks[: len(every)]])
        return firsts

    def sample(self, c: Coefficients, packed: Packed, out: Array) -> None:
        """Write the values. Local."""
        pads, begin = np.array(c.pads, np.int64), self._begin()
        if out.ndim == 2 and len(self.matrix) == 2 and c.order in (1, 3):
            loops.sample_plane(
                self.matrix, self.offset, np.array(begin), packed.runs, pads, c.order, c.cval, *packed.arguments(c), out
            )
            return
        # Rows of the first axis at a time, so that coordinates need little memory.
        step = max(1, CELLS // max(1, math.prod(out.shape[1:])))
        for low in range(0, out.shape[0], step):
            part = out[low : low + step]
            points = np.empty((len(self.matrix), *part.shape))
            for axis, row in enumerate(self.matrix):
                points[axis] = self.offset[axis]
                for along, factor in enumerate(row):
                    first = begin[along] + (low if along == 0 else 0)
                    index = np.arange(first, first + part.shape[along], dtype=np.float64) * factor
                    points[axis] += index.reshape((-1,) + (1,) * (part.ndim - 1 - along))
            loops.sample_points(
                points.reshape(len(points), -1), pads, c.order, c.cval, *packed.arguments(c), part.reshape(-1)
            )


@dataclass(frozen=True, slots=True)
class Planes:
    """The points of an affine map of each plane of two axes."""

    box: Box
    corner: tuple[int, ...]
    plane: tuple[int, int]
    matrix: Array
    offset: Array

    def part(self, box: Box) -> Planes:
        """Return the same for a smaller box. Local."""
        return Planes(box, self.corner, self.plane, self.matrix, self.offset)

    def _in_plane(self) -> Affine:
        start, stop, corner = (
            tuple(place[axis] for axis in self.plane) for place in (self.box.start, self.box.stop, self.corner)
        )
        return Affine(Box(start, stop), corner, self.matrix, self.offset)

    def _beside(self, axis: int) -> I8:
        return np.arange(self.box.start[axis], self.box.stop[axis]) + self.corner[axis]

    def firsts(self, c: Coefficients) -> list[I8]:
        """Return the first indices that are read, and a few around them, for each axis. Local."""
        firsts = [self._beside(axis) for axis in range(len(self.corner))]
        for axis, line in zip(self.plane, self._in_plane().firsts(c.along(self.plane)), strict=True):
            firsts[axis] = line
        return firsts

    def sample(self, c: Coefficients, packed: Packed, out: Array) -> None:
        """Write the values. Local."""
        others = [axis for axis in range(out.ndim) if axis not in self.plane]
        turned = packed.cells.reshape(packed.shape).transpose(*others, *self.plane)
        shape = tuple(packed.shape[axis] for axis in self.plane)
        runs, table = packed.runs[list(self.plane)], packed.table[list(self.plane)]
        within, affine = c.along(self.plane), self._in_plane()
        places = [packed.table[axis, self._beside(axis) + MARGIN] for axis in others]
        results = out.transpose(*others, *self.plane)
        values = np.empty(affine.box.shape)
        for index in np.ndindex(*map(len, places)):
            at = tuple(int(line[i]) for line, i in zip(places, index, strict=True))
            cells = np.ascontiguousarray(turned[at]).reshape(-1) if turned.size else packed.cells
            affine.sample(within, packed.__class__(cells, shape, runs, table), values)
            results[index] = values


@dataclass(frozen=True, slots=True)
class Points:
    """Any points: an array of f8 with a first axis of coordinates."""

    box: Box
    points: Array

    def part(self, box: Box) -> Points:
        """Return the same for a smaller box. Local."""
        return Points(box, self.points[(slice(None), *box.slices(self.box.start))])

    def firsts(self, c: Coefficients) -> list[I8]:
        """Return the first indices that are read, for each axis. Local."""
        flat = np.ascontiguousarray(self.points).reshape(len(self.points), -1)
        marks = _marked(flat, c.pads, c, range(len(flat)))
        return [np.flatnonzero(line) - MARGIN for line in marks]

    def sample(self, c: Coefficients, packed: Packed, out: Array) -> None:
        """Write the values. Local."""
        flat = np.ascontiguousarray(self.points).reshape(len(self.points), -1)
        loops.sample_points(flat, np.array(c.pads, np.int64), c.order, c.cval, *packed.arguments(c), out.reshape(-1))


def _marked(points: Array, pads: Sequence[int], c: Coefficients, axes: Sequence[int]) -> list[npt.NDArray[np.bool_]]:
    """Return for each axis the mask of first indices, from `MARGIN` before the wall on. Local."""
    lengths = np.array(c.lengths, np.int64)[list(axes)]
    marks = np.zeros((len(lengths), int(lengths.max()) + 2 * MARGIN), np.bool_)
    modes = np.array(c.modes, np.int64)[list(axes)]
    loops.mark_points(points, np.array(pads, np.int64), c.order, lengths, modes, marks)
    return list(marks)
