"""Compiled sweep of a chamfer transform: each cell looks at those before it, in scipy's order."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["NOWHERE", "sweep"]

Array = Any
NOWHERE = np.uint32(0xFFFFFFFF)  # more steps than any: -1 as a number without sign


@compiled
def _least_in_other_rows(distances: Array, base: int, offsets: Array, least: Array) -> None:
    """Write the least of the cells at `offsets` from each cell of a row. Local."""
    least[:] = NOWHERE
    for offset in offsets:
        row = distances[base + offset : base + offset + least.size]
        for x in range(least.size):
            least[x] = row[x] if row[x] < least[x] else least[x]


@compiled
def _place_of(distances: Array, at: int, offsets: Array, steps: int) -> Any:
    """Return where the first of the cells at `offsets` is that has so many steps. Local."""
    for offset in offsets:
        if distances[at + offset] == steps:
            return at + offset
    return at


@compiled
def sweep(
    begin: Array,
    origins: Array,
    bases: Array,
    offsets: Array,
    own: Array,
    backward: bool,
    distances: Array,
    sites: Array,
) -> None:
    """Write the steps to the nearest background, over the cells at `offsets` and `own`, and its index. Local.

    Parameters
    ----------
    begin, origins : arrays (rows, cells)
        Steps and index that each owned cell begins with; steps are 0 in the background, NOWHERE where none is known.
    bases : array
        Where each row begins in `distances` and `sites`, which have a halo, as one dimension.
    offsets, own : arrays
        Of the cells to look at in other rows, and in the same; the first of equals wins, a cell's own beginning before
        all of them.
    backward : bool
        From the last cell to the first.
    distances, sites : arrays of one dimension
        The result, in place. If `sites` is empty, indices are left out.
    """
    rows, length = begin.shape
    with_sites = sites.size > 0
    others = np.empty(length, np.uint32)
    for r in range(rows):
        row = rows - 1 - r if backward else r
        base = bases[row]
        _least_in_other_rows(distances, base, offsets, others)
        for n in range(length):
            x = length - 1 - n if backward else n
            at = base + x
            first, steps = begin[row, x], others[x]
            for offset in own:
                steps = min(steps, distances[at + offset])
            is_nearer = steps < NOWHERE and np.uint32(steps + 1) < first
            distances[at] = np.uint32(steps + 1) if is_nearer else first
            if with_sites:
                if is_nearer:
                    there = _place_of(distances, at, offsets, steps)
                    sites[at] = sites[there if there != at else _place_of(distances, at, own, steps)]
                else:
                    sites[at] = origins[row, x]
