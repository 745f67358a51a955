"""Numbers of components in global raster order of their first cells, without sorting over ranks.

The number of first cells before one is that of those in its row before it, in earlier rows of its plane, in earlier
planes, and so on: for each axis from the last to the first, sums along it within the block, and over the ranks before
this one along it. Ranks share the cuts of an axis, so that these sums need only a table of the axes before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.base.tally import REDUCTION
from mpibatch.mpi.prefix import sums_before

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["numbers"]

Ints = npt.NDArray[np.int64]


def numbers(grid: Grid, first: Ints, chosen: npt.NDArray[np.bool_]) -> tuple[Ints, int]:
    """Return the numbers, from 1, of the chosen among some cells (0: others), and how many all ranks chose. Collective.

    `first` are sorted raster indices in this rank's block.
    """
    # Late, because numba takes a second to load.
    from mpibatch.measure._loops import numbering as loops

    shape = grid.box.shape
    table = np.zeros(shape[:-1], np.int64)
    loops.count_rows(first, chosen, shape[-1], table.reshape(-1))
    before = np.zeros(shape[:-1], np.int64)
    for axis in range(grid.ndim - 1, -1, -1):
        if axis < grid.ndim - 1:
            # `table` is what lies in each index of this axis: sum up what is before each, here and on other ranks.
            before += np.cumsum(table, axis=axis).reshape(table.shape + (1,) * (before.ndim - table.ndim))
            before -= table.reshape(table.shape + (1,) * (before.ndim - table.ndim))
            table = table.sum(axis=axis)
        with REDUCTION:
            others, table = sums_before(grid.comm, _line(grid, axis), table)
        before += others.reshape(others.shape + (1,) * (before.ndim - others.ndim))
    result = np.zeros(len(first), np.int64)
    loops.number_rows(first, chosen, shape[-1], before.reshape(-1), result)
    return result, int(table)


def _line(grid: Grid, axis: int) -> list[int]:
    """Return the ranks that differ from this one along one axis only, in order. Local."""
    coords = list(grid.coords)
    line = []
    for coord in range(grid.topology[axis]):
        coords[axis] = coord
        line.append(grid.decomposition.rank(coords))
    return line
