"""Compiled loops of thinning by Lee, Kashyap and Chu: which cells may go, and which of them go one after the other.

What surrounds a cell is a number of 27 bits: the cells of the cube around it in raster order, its own bit 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["candidates", "settle"]

Array = Any
Int = Any
# The cube without the plane that a step along the last axis, or the one before, cannot come from the other side to.
NOT_FIRST, NOT_LAST = 0o666666666, 0o333333333
NOT_TOP, NOT_BOTTOM = 0o770770770, 0o077077077


@compiled
def _are_joined(pattern: Int) -> bool:
    """Whether the neighbors are connected, over corners, without the cell. Local."""
    joined = pattern & -pattern
    while True:
        near = joined
        near |= (near << 1 & NOT_FIRST) | (near >> 1 & NOT_LAST)
        near |= (near << 3 & NOT_TOP) | (near >> 3 & NOT_BOTTOM)
        near |= (near << 9) | (near >> 9)
        near &= pattern
        if near == joined:
            return bool(joined == pattern)
        joined = near


@compiled
def _keeps_holes(pattern: Int, corners: Array, weights: Array) -> bool:
    """Whether there are as many holes, objects and hollows without the cell. Local.

    corners : for the cells of an outer plane, and of the middle one, what they are in each of its four octants: a byte
        each, of which the bits are the seven other cells of an octant.
    weights : what a cell adds to eight times the Euler characteristic of an octant with these others in it.
    """
    middle = corners[1, pattern >> 9 & 511]
    euler = 0
    for plane in (pattern & 511, pattern >> 18):
        others = corners[0, plane] | middle
        euler += weights[others & 127] + weights[others >> 8 & 127]
        euler += weights[others >> 16 & 127] + weights[others >> 24 & 127]
    return bool(euler == 0)


@compiled
def candidates(
    cells: Array, bases: Array, length: Int, step: Int, ring: Array, bits: Array,
    corners: Array, weights: Array,
) -> Array:  # fmt: skip
    """Return the owned cells, in order, that may go and have nothing a `step` away; cells are flat. Local.

    ring, bits : offsets of the neighbors, and their bits in a pattern.
    """
    chosen = np.empty(1024, np.int64)
    count = 0
    for base in bases:
        for at in range(base, base + length):
            if cells[at] and not cells[at + step]:
                pattern = np.int64(0)
                for k in range(ring.size):
                    pattern |= np.int64(cells[at + ring[k]]) << bits[k]
                # The end of a line has one neighbor, and stays.
                if pattern & (pattern - 1) != 0 and _keeps_holes(pattern, corners, weights) and _are_joined(pattern):
                    if count == chosen.size:
                        more = np.empty(2 * count, np.int64)
                        for k in range(count):
                            more[k] = chosen[k]
                        chosen = more
                    chosen[count] = at
                    count += 1
    return chosen[:count]


@compiled
def settle(cells: Array, goes: Array, chosen: Array, ring: Array, bits: Array) -> Int:
    """Decide in order which of the chosen cells go, after those before them; return how many decisions changed. Local.

    The first half of the ring are the neighbors before a cell. That these are connected is all that is asked again.
    """
    changed = 0
    for at in chosen:
        pattern = np.int64(0)
        for k in range(ring.size // 2):
            there = at + ring[k]
            pattern |= np.int64(cells[there] & (1 - goes[there])) << bits[k]
        for k in range(ring.size // 2, ring.size):
            pattern |= np.int64(cells[at + ring[k]]) << bits[k]
        goes_now = _are_joined(pattern)
        changed += goes_now != (goes[at] != 0)
        goes[at] = goes_now
    return changed
