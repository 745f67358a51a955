"""What a compiled sweep fills outside the domain on its way, as jobs for ``edge`` of `wall_source`.

A pass over the walls before the sweep would bring most of a halo's cache lines from memory twice. So a plane's rows
and columns outside are filled when that plane is the middle one, or, for kernels that read corners, when it is first
read; planes outside are filled when they are first read. Threads that sweep neighboring planes may both fill a cell:
they write the same value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.stencil.compiled.arguments import address_of
from mpibatch.stencil.compiled.fills import Fill, Interval, Span, Surroundings
from mpibatch.stencil.compiled.tables import EdgeJob, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["Edges"]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """One field's cells outside the domain, all made of cells of this rank; axes are slow, middle and fast.

    Attributes
    ----------
    walls : around the cells `cells` of this rank.
    reach : how far they are read, below and above.
    corners : whether cells outside along two axes are read.
    first, strides : where the owned cells begin in the array, and the words from plane to plane and row to row.
    """

    walls: Surroundings
    cells: tuple[int, ...]
    reach: tuple[Interval, ...]
    corners: bool
    first: int
    strides: tuple[int, int]
    _known: dict[tuple[int, ...], tuple[tuple[int, ...], Any, Any]] = field(default_factory=dict)

    def packed(self, ranges: tuple[int, ...], code: int) -> tuple[int, ...]:
        """Return what a sweep over (k0, k1, j0, j1, i0, i1) takes, `code` being that of ``edge``. Local."""
        known = self._known.get(ranges)
        if known is None:
            jobs, values = self._jobs(ranges), self.walls.values()
            places = address_of(jobs), len(jobs), address_of(values)
            known = self._known.setdefault(ranges, (places, jobs, values))  # another thread's, if it came first
        return code, *known[0]

    def _jobs(self, ranges: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """What to do while these cells are computed, in its order."""
        k0, k1, *across = ranges
        (below, above), *widths = self.reach
        (r0, r1), (c0, c1) = ((across[2 * n] - widths[n][0], across[2 * n + 1] + widths[n][1]) for n in (0, 1))
        j0, j1, x0, x1 = across
        y0, y1 = j0, j1
        if self.corners:
            j0, j1 = r0, r1
            # Cells outside both here and there come from anywhere in the domain's part of a plane.
            (y0, y1), (x0, x1) = (self._within(axis) for axis in (1, 2))
        plane, row, word = *self.strides, self.walls.array.words
        planes, rows, columns = (self._fills(axis) for axis in range(3))
        jobs: list[EdgeJob] = []

        def add(turns: tuple[int, int, int], begin: int, step: int, fill: Fill, size: tuple[int, int]) -> None:
            begin += self.first
            to, of = begin + fill.to * step, begin + fill.of * step
            jobs.append(
                EdgeJob(*turns, to=to, of=of, row=row, rows=size[0], cells=size[1], kind=fill.kind, value=fill.value)
            )

        for fill in planes:
            if k0 - below <= fill.to < k1 + above:
                turn = max(fill.to - above, k0)
                add((turn, turn + 1, 0), y0 * row + x0 * word, plane, fill, (y1 - y0, x1 - x0))
        # Which planes' rows and columns in which turns: the first turn has more to do where corners are read.
        turns = [((k0, k1, plane), 0)]
        if self.corners:
            turns = [((k0, k0 + 1, plane), d) for d in range(-below, above)] + [((k0, k1, plane), above)]
        for when, d in turns:
            for fill in rows:
                if r0 <= fill.to < r1:
                    add(when, d * plane + x0 * word, row, fill, (1, x1 - x0))
            for fill in columns:
                if c0 <= fill.to < c1:
                    add(when, d * plane + j0 * row, word, fill, (j1 - j0, 1))
        return table_of(jobs, EdgeJob)

    def _within(self, axis: int) -> Interval:
        """Return the cells that are read and in the domain."""
        (below, above), (low, high) = self.reach[axis], self.walls.domain[axis]
        return max(-below, low), min(self.cells[axis] + above, high)

    def _fills(self, axis: int) -> Sequence[Fill]:
        n, (below, above), (low, high) = self.cells[axis], self.reach[axis], self.walls.domain[axis]
        outside = (min(max(low + below, 0), below), min(max(n + above - high, 0), above))
        return list(self.walls.fills(axis, Span(0, n, outside))) if self.walls.conditions[axis] else []
