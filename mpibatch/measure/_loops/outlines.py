"""Compiled outlines of labels in a plane: their extent in each row, the convex hull of these, and its diameter.

All in whole numbers of half cells: a cell reaches half a cell from its center along each axis, as a diamond does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["count_runs", "hulls", "runs"]

Array = Any
Int = Any


@compiled
def count_runs(cells: Array) -> Int:
    """Return how many runs of equal positive cells the rows have. Local."""
    count: Int = 0
    for i in range(cells.shape[0]):
        before: Int = np.int64(0)
        for j in range(cells.shape[1]):
            label = np.int64(cells[i, j])
            count += label > 0 and label != before
            before = label
    return count


@compiled
def runs(cells: Array, top: Int, left: Int, out: Array) -> None:
    """Write (label, row, first, last place) of each run. Local."""
    count = -1
    for i in range(cells.shape[0]):
        before: Int = np.int64(0)
        for j in range(cells.shape[1]):
            label = np.int64(cells[i, j])
            if label > 0:
                if label != before:
                    count += 1
                    out[count, 0], out[count, 1], out[count, 2] = label, top + i, left + j
                out[count, 3] = left + j
            before = label


@compiled
def _add(chain: Array, size: Int, y: Int, x: Int) -> Int:
    """Add a point below the others, or beside the last, to a chain that bends to lesser x; return its size. Local."""
    if size and chain[size - 1, 0] == y:
        if chain[size - 1, 1] <= x:
            return size
        size -= 1
    while size > 1:
        ay, ax, by, bx = chain[size - 2, 0], chain[size - 2, 1], chain[size - 1, 0], chain[size - 1, 1]
        if (bx - ax) * (y - ay) < (x - ax) * (by - ay):
            break
        size -= 1
    chain[size, 0], chain[size, 1] = y, x
    return size + 1


@compiled
def _bound(rows: Array, places: Array, sign: Int, chain: Array) -> Int:
    """Make the chain around the diamonds at these places (times -1: on the other side); return its size. Local."""
    size = 0
    for k in range(rows.size):
        y, x = 2 * rows[k], 2 * sign * places[k]
        size = _add(chain, size, y - 1, x)
        size = _add(chain, size, y, x - 1)
        size = _add(chain, size, y + 1, x)
    return size


@compiled
def _first_inside(chain: Array, size: Int, segment: Int, y: Int) -> tuple[Int, Int]:
    """Return the first whole place of row y not outside the chain, and the segment from which to go on. Local."""
    while segment + 2 < size and chain[segment + 1, 0] < 2 * y:
        segment += 1
    ay, ax, by, bx = chain[segment, 0], chain[segment, 1], chain[segment + 1, 0], chain[segment + 1, 1]
    above = ax * (by - ay) + (bx - ax) * (2 * y - ay)
    return -(-above // (2 * (by - ay))), segment


@compiled
def _square(ay: Int, ax: Int, by: Int, bx: Int, height: float, width: float) -> float:
    """Return the squared distance of two points in half cells. Local."""
    down, along = 0.5 * (ay - by) * height, 0.5 * (ax - bx) * width
    square: float = down * down + along * along
    return square


@compiled
def hulls(starts: Array, table: Array, height: float, width: float, areas: Array, squares: Array) -> None:
    """Write how many cells the convex hull of each label has, and the squared diameter of these cells. Local.

    Label k has rows ``starts[k]`` to ``starts[k + 1]`` of `table`: label, row, first, last place; sorted.
    """
    for k in range(areas.size):
        part = table[starts[k] : starts[k + 1]]
        room = 3 * (part[part.shape[0] - 1, 1] - part[0, 1] + 1)
        low, high = np.empty((room, 2), np.int64), np.empty((room, 2), np.int64)
        lows, highs = _bound(part[:, 1], part[:, 2], 1, low), _bound(part[:, 1], part[:, 3], -1, high)
        rows = np.arange(part[0, 1], part[part.shape[0] - 1, 1] + 1)
        firsts, lasts = np.empty(rows.size, np.int64), np.empty(rows.size, np.int64)
        segment_low, segment_high = 0, 0
        for i in range(rows.size):
            firsts[i], segment_low = _first_inside(low, lows, segment_low, rows[i])
            last, segment_high = _first_inside(high, highs, segment_high, rows[i])
            lasts[i] = -last
            areas[k] += lasts[i] - firsts[i] + 1
        lows, highs = _bound(rows, firsts, 1, low), _bound(rows, lasts, -1, high)
        for i in range(highs):
            high[i, 1] = -high[i, 1]
        for i in range(lows):
            for j in range(i):
                square = _square(low[i, 0], low[i, 1], low[j, 0], low[j, 1], height, width)
                squares[k] = max(squares[k], square)
            for j in range(highs):
                square = _square(low[i, 0], low[i, 1], high[j, 0], high[j, 1], height, width)
                squares[k] = max(squares[k], square)
        for i in range(highs):
            for j in range(i):
                square = _square(high[i, 0], high[i, 1], high[j, 0], high[j, 1], height, width)
                squares[k] = max(squares[k], square)
