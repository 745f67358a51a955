"""Compiled sweep of a chamfer transform: each cell looks at those before it, in scipy's order."""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["sweep"]

Array = Any


@compiled
def sweep(
    begin: Array, origins: Array, bases: Array, offsets: Array, backward: bool, distances: Array, sites: Array
) -> None:
    """Write the steps to the nearest background, over the cells at `offsets`, and its index. Local.

    Parameters
    ----------
    begin, origins : arrays (rows, cells)
        Steps and index that each owned cell begins with; steps are 0 in the background, -1 where none is known.
    bases : array
        Where each row begins in `distances` and `sites`, which have a halo, as one dimension.
    offsets : array
        Of the cells to look at; the first of equals wins, and a cell's own beginning before all of them.
    backward : bool
        From the last cell to the first.
    distances, sites : arrays of one dimension
        The result, in place. If `sites` is empty, indices are left out.
    """
    rows, length = begin.shape
    with_sites = sites.size > 0
    for r in range(rows):
        row = rows - 1 - r if backward else r
        base = bases[row]
        for n in range(length):
            x = length - 1 - n if backward else n
            least, nearest = begin[row, x], -1
            if least != 0:
                for k in range(offsets.size):
                    steps = distances[base + x + offsets[k]]
                    if steps >= 0 and (least < 0 or steps + 1 < least):
                        least = steps + 1
                        nearest = k
            distances[base + x] = least
            if with_sites:
                sites[base + x] = origins[row, x] if nearest < 0 else sites[base + x + offsets[nearest]]
