"""Compiled half steps of thinning: which cells go follows from the eight around them, all read before any goes.

A cell that stayed goes in a later half step of the same kind only if one around it has gone since, in this half step or
in the one between: after two half steps through all cells, only such are looked at, and those at the faces of the
block, of whose neighbors no list is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["set_around", "thin_all", "thin_some"]

Array = Any
Int = Any


@compiled
def _longer(cells: Array) -> Array:
    """Return a list of twice the room, with the same entries in front. Local."""
    more = np.empty(2 * cells.size, np.int64)
    for i in range(cells.size):
        more[i] = cells[i]
    return more


@compiled
def _may_go(cells: Array, at: Int, ring: Array, goes: Array) -> bool:
    """Whether the neighborhood of a cell is in the table. Local."""
    pattern = 0
    for k in range(8):
        pattern |= cells[at + ring[k]] << k
    return bool(goes[pattern])


@compiled
def _add_bit(patterns: Array, row: Array, k: Any) -> None:
    """Add 2**k where the cells of a row are set. Local."""
    for x in range(row.size):
        patterns[x] |= np.uint8(row[x] << k)


@compiled
def _clear(cells: Array, cleared: Array) -> None:
    for at in cleared:
        cells[at] = 0


@compiled
def thin_all(cells: Array, bases: Array, length: int, ring: Array, goes: Array) -> Array:
    """Clear the owned cells whose neighborhood is in the table, and return them; cells are flat. Local.

    ring: offsets of the eight neighbors, of which number k counts 2**k. goes: for each of the 256 sums, whether.
    """
    cleared = np.empty(1024, np.int64)
    patterns = np.empty(length, np.uint8)
    count = np.int64(0)
    for base in bases:
        row = cells[base : base + length]
        patterns[:] = 0
        for k in range(8):
            _add_bit(patterns, cells[base + ring[k] : base + ring[k] + length], np.uint8(k))
        while count + length > cleared.size:
            cleared = _longer(cleared)
        for x in range(length):
            # Without a branch: it would mislead the processor along every contour.
            cleared[count] = base + x
            count += np.int64(row[x] & goes[patterns[x]])
    _clear(cells, cleared[:count])
    return cleared[:count]


@compiled
def thin_some(cells: Array, older: Array, newer: Array, rim: Array, ring: Array, goes: Array) -> Array:
    """Do `thin_all` for the cells of three lists, and return those cleared, maybe twice. Local."""
    cleared = np.empty(1024, np.int64)
    count = 0
    for part in (older, newer, rim):
        for at in part:
            if cells[at] and _may_go(cells, at, ring, goes):
                if count == cleared.size:
                    cleared = _longer(cleared)
                cleared[count] = at
                count += 1
    _clear(cells, cleared[:count])
    return cleared[:count]


@compiled
def set_around(cells: Array, marks: Array, bit: Int, older: Array, cleared: Array, ring: Array) -> Array:
    """Return the set cells around those cleared, marked with a bit in place of older ones; none that had it. Local."""
    for at in older:
        marks[at] &= ~bit
    chosen = np.empty(1024, np.int64)
    count = 0
    for at in cleared:
        for step in ring:
            there = at + step
            if cells[there] and not marks[there] & bit:
                marks[there] |= bit
                if count == chosen.size:
                    chosen = _longer(chosen)
                chosen[count] = there
                count += 1
    return chosen[:count]
