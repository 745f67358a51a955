"""Compiled half step of thinning: which cells go follows from the eight around them, all read before any goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["thin_once"]

Array = Any


@compiled
def thin_once(cells: Array, bases: Array, length: int, ring: Array, goes: Array) -> int:
    """Clear the owned cells whose neighborhood is in the table, and return how many; cells are flat. Local.

    ring: offsets of the eight neighbors, of which number k counts 2**k. goes: for each of the 256 sums, whether.
    """
    cleared = np.empty(1024, np.int64)
    count = 0
    for base in bases:
        for at in range(base, base + length):
            if cells[at]:
                pattern = 0
                for k in range(8):
                    pattern |= cells[at + ring[k]] << k
                if goes[pattern]:
                    if count == cleared.size:
                        more = np.empty(2 * count, np.int64)
                        more[:count] = cleared
                        cleared = more
                    cleared[count] = at
                    count += 1
    for i in range(count):
        cells[cleared[i]] = 0
    return count
