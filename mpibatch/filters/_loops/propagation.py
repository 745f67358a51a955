"""Compiled loop of a binary erosion or dilation that is repeated until nothing changes."""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["settle"]

Array = Any


@compiled
def _visit(cells: Array, base: int, offsets: Array, center: int, may: Array, x: int, value: int) -> bool:
    """Give a cell the `value` if it may change and any cell in its window has it. Local."""
    position = base + center + x
    if cells[position] == value or not may[x]:
        return False
    for offset in offsets:
        if cells[base + offset + x] == value:
            cells[position] = value
            return True
    return False


@compiled
def settle(cells: Array, bases: Array, offsets: Array, center: int, may: Array, value: int) -> bool:
    """Spread `value` until nothing changes, and return whether anything did; cells are 0 or 1. Local.

    Cells are visited forth and back, and each sees what the ones before it became: a front runs through the whole
    block in one sweep, and a winding one in a sweep for each turn.
    """
    rows, length = may.shape
    ever, changed = False, True
    while changed:
        changed = False
        for row in range(rows):
            for x in range(length):
                if _visit(cells, bases[row], offsets, center, may[row], x, value):
                    changed = True
        if changed:
            changed = False
            ever = True
            for row in range(rows - 1, -1, -1):
                for x in range(length - 1, -1, -1):
                    if _visit(cells, bases[row], offsets, center, may[row], x, value):
                        changed = True
    return ever
