"""Compiled passes that keep which background cell is nearest, along one axis of a block in C order, in floats.

A column (see `squares`) is whole, or has all cells that matter. Operations and their order are scipy's, cell by cell,
so that rounding and ties are, too: the method of Maurer, Qi and Raghavan (2003, doi:10.1109/TPAMI.2003.1177156).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["bring", "choose", "place_squares", "sites"]

Array = Any
WIDE = 16  # columns at a time: where they are not behind one another in memory, a line of cache holds cells of all


@compiled
def place_squares(places: Array, start: int, spacing: float, out: Array) -> None:
    """Write the squared distances along the column to the given places on it; infinity for negative ones. Local."""
    outer, length, inner = places.shape
    for o in range(outer):
        for i in range(length):
            row, result = places[o, i], out[o, i]
            for x in range(inner):
                away = np.float64(np.int64(row[x]) - (start + i)) * spacing
                result[x] = away * away if row[x] >= 0 else np.inf


@compiled
def choose(places: Array, start: int, cells: Array, before: Array, after: Array, out: Array) -> None:
    """Write what the cells at the given places on the column hold, or what holds before and after the block. Local.

    Where there is no place, cells become 0.
    """
    outer, length, inner = places.shape
    for o in range(outer):
        for i in range(length):
            for x in range(inner):
                place = np.int64(places[o, i, x])
                if place < 0:
                    out[o, i, x] = 0
                elif place < start:
                    out[o, i, x] = before[o, x]
                elif place < start + length:
                    out[o, i, x] = cells[o, place - start, x]
                else:
                    out[o, i, x] = after[o, x]


@compiled
def _stacked(weights: Array, spacing: float, stack: Array) -> int:
    """Put the sites that are nearest somewhere on the line onto the stack; return how many. Local."""
    top = -1
    for i in range(weights.size):
        right = weights[i]
        if right == np.inf:
            continue
        while top >= 1:
            middle, low = stack[top], stack[top - 1]
            a = np.float64(middle - low) * spacing
            b = np.float64(i - middle) * spacing
            c = a + b
            if c * weights[middle] - b * weights[low] - a * right - a * b * c <= 0.0:
                break
            top -= 1
        top += 1
        stack[top] = i
    return top + 1


@compiled
def _distance(weight: float, site: int, i: int, spacing: float) -> float:
    away = np.float64(site - i) * spacing
    return weight + away * away


@compiled
def _settle(weights: Array, spacing: float, stack: Array, sites: Array, results: Array) -> None:
    """Write the nearest site for each cell of a line, and its squared distance. Local."""
    count = _stacked(weights, spacing, stack)
    if not count:
        for i in range(weights.size):
            sites[i], results[i] = i, np.inf
        return
    at = 0
    site = stack[0]
    for i in range(weights.size):
        value = _distance(weights[site], site, i, spacing)
        while at + 1 < count:
            following = stack[at + 1]
            other = _distance(weights[following], following, i, spacing)
            if value <= other:
                break
            at += 1
            site, value = following, other
        sites[i], results[i] = site, value


@compiled
def sites(weights: Array, spacing: float, out: Array) -> None:
    """Replace squared distances by the least, over the column, of one plus the square of the way to it. Local.

    `out` takes the place on the column, from 0, of the cell that it is: of equals, mostly the first.
    """
    outer, length, inner = weights.shape
    values, results = np.empty((WIDE, length)), np.empty((WIDE, length))
    chosen, stack = np.empty((WIDE, length), np.int64), np.empty(length, np.int64)
    for o in range(outer):
        for begin in range(0, inner, WIDE):
            count = min(WIDE, inner - begin)
            for i in range(length):
                for c in range(count):
                    values[c, i] = weights[o, i, begin + c]
            for c in range(count):
                _settle(values[c], spacing, stack, chosen[c], results[c])
            for i in range(length):
                for c in range(count):
                    weights[o, i, begin + c] = results[c, i]
                    out[o, i, begin + c] = chosen[c, i]


@compiled
def bring(cells: Array, chosen: Array) -> None:
    """Replace each cell by the one at the chosen place on its column. Local."""
    outer, length, inner = cells.shape
    lines = np.empty((length, WIDE), cells.dtype)
    for o in range(outer):
        for begin in range(0, inner, WIDE):
            count = min(WIDE, inner - begin)
            for i in range(length):
                for c in range(count):
                    lines[i, c] = cells[o, i, begin + c]
            for i in range(length):
                for c in range(count):
                    cells[o, i, begin + c] = lines[chosen[o, i, begin + c], c]
