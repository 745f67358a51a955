"""The recursive filters that make spline coefficients of values, operation by operation as scipy.ndimage's.

A line of values c is scaled by a gain; then, for each pole z, comes a causal pass ``c[i] += z * c[i - 1]`` and an
anticausal one ``c[i] = z * (c[i + 1] - c[i])``, from start values that sum up the line (M. Unser, A. Aldroubi and
M. Eden, doi:10.1109/34.75515). Arrays are (lines before, length, lines behind): what is behind lies in rows, along
which the compiler vectorizes.

A whole line is filtered in a tile of some lines. Where a line is cut, a pass goes from one array to another, so that
lines which turn out to have begun wrongly can be done again from what they were made of.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = [
    "MIRROR", "REFLECT", "WRAP", "backward", "bounds_of_sum", "forward", "largest", "redo_backward", "redo_forward",
    "whole_lines",
]  # fmt: skip

F8 = Any  # an array of float64

MIRROR, REFLECT, WRAP = 0, 1, 2
WIDTH = 32  # lines of a tile
ROW = 64  # numbers that are taken in at once, each with a sum of its own
LINE = 8  # cells of a cache line
# A term that is this much smaller than a sum does not change it: half a last unit is 2**-54 of it, or more.
NOTHING = 2.0**-56


@compiled
def largest(cells: F8) -> float:
    """Return the largest magnitude of a flat array; infinity if one is not finite."""
    most, spoilt = np.zeros(ROW), np.zeros(ROW)
    for i in range(0, cells.size, ROW):
        for k in range(min(ROW, cells.size - i)):
            size = abs(cells[i + k])
            most[k] = size if size > most[k] else most[k]  # a select, which has a vector form
            spoilt[k] += size * 0.0
    return most.max() if spoilt.sum() == 0.0 else np.inf


@compiled
def _differ(a: float, b: float) -> bool:
    """Whether two numbers differ, the sign of zero included."""
    return a != b or math.copysign(1.0, a) != math.copysign(1.0, b)


@compiled
def _is_settled(row: F8, width: int, least: float) -> bool:
    smallest = np.inf
    for q in range(width):
        smallest = min(smallest, abs(row[q]))
    return smallest > least


@compiled
def _start(
    tile: F8, extra: F8, n: int, width: int, z: float, power: float, cycle: float, kind: int, most: float
) -> None:
    """Put the start values of the causal pass into the first row of a tile."""
    first = tile[0]
    zi = z
    bound = most * (1.0 + abs(power))  # not a number where a cell is none: then no sum is settled early
    if kind == MIRROR:
        for q in range(width):
            first[q] = first[q] + power * tile[n - 1, q]
        for i in range(1, n - 1):
            if zi * bound == 0.0 or (i % 32 == 0 and _is_settled(first, width, bound * abs(zi) / NOTHING)):
                break
            for q in range(width):
                first[q] += zi * (tile[i, q] + power * tile[n - 1 - i, q])
            zi *= z
        for q in range(width):
            first[q] /= 1 - power * power
    elif kind == REFLECT:
        # scipy (until 1.17 at least) lets the sum stand in the first cell, which is the last one's opposite.
        for q in range(width):
            extra[q] = first[q]
            first[q] = first[q] + power * tile[n - 1, q]
        for i in range(1, n):
            if zi * bound == 0.0 or (i % 32 == 0 and _is_settled(first, width, bound * abs(zi) / NOTHING)):
                break
            for q in range(width):
                first[q] += zi * (tile[i, q] + power * tile[n - 1 - i, q])
            zi *= z
        factor = z / (1 - power * power)
        for q in range(width):
            first[q] *= factor
            first[q] += extra[q]
    else:
        for i in range(1, n):
            if zi * bound == 0.0 or (i % 32 == 0 and _is_settled(first, width, bound * abs(zi) / NOTHING)):
                break
            for q in range(width):
                first[q] += zi * tile[n - i, q]
            zi *= z
        for q in range(width):
            first[q] /= 1 - cycle


@compiled
def _turn(tile: F8, n: int, width: int, z: float, cycle: float, kind: int) -> None:
    """Put the start values of the anticausal pass into the last row of a tile."""
    last = tile[n - 1]
    if kind == MIRROR:
        for q in range(width):
            last[q] = (z * tile[n - 2, q] + last[q]) * z / (z * z - 1)
    elif kind == REFLECT:
        factor = z / (z - 1)
        for q in range(width):
            last[q] *= factor
    else:
        zi = z
        for i in range(n - 1):
            if zi == 0.0:  # what is not finite would have spoilt the whole line before
                break
            for q in range(width):
                last[q] += zi * tile[i, q]
            zi *= z
        factor = z / (cycle - 1)
        for q in range(width):
            last[q] *= factor


@compiled
def _filter_tile(
    tile: F8, extra: F8, n: int, width: int, poles: F8, powers: F8, cycles: F8, kind: int, most: float
) -> None:
    bound = most
    for p in range(poles.size):
        z = poles[p]
        _start(tile, extra, n, width, z, powers[p], cycles[p], kind, bound)
        for i in range(1, n):
            for q in range(width):
                tile[i, q] += z * tile[i - 1, q]
        _turn(tile, n, width, z, cycles[p], kind)
        for i in range(n - 2, -1, -1):
            for q in range(width):
                tile[i, q] = z * (tile[i + 1, q] - tile[i, q])
        bound *= 64.0  # both passes grow by 1 / (1 - abs(z)) at most, which is less than 2, starts included


@compiled
def whole_lines(cells: F8, gain: float, poles: F8, powers: F8, cycles: F8, kind: int) -> None:
    """Filter whole lines, in place."""
    before, n, behind = cells.shape
    tile = np.empty((n, WIDTH))
    extra = np.empty(WIDTH)
    if behind > 1:
        for a in range(before):
            for b in range(0, behind, WIDTH):
                width = min(WIDTH, behind - b)
                extra[:] = 0.0
                for i in range(n):
                    for q in range(width):
                        value = cells[a, i, b + q] * gain
                        tile[i, q] = value
                        extra[q] += abs(value)
                _filter_tile(tile, extra, n, width, poles, powers, cycles, kind, extra.sum())
                for i in range(n):
                    for q in range(width):
                        cells[a, i, b + q] = tile[i, q]
        return
    for a in range(0, before, WIDTH):
        width = min(WIDTH, before - a)
        extra[:] = 0.0
        for i in range(0, n, LINE):
            end = min(i + LINE, n)
            for q in range(width):
                for k in range(i, end):
                    tile[k, q] = cells[a + q, k, 0] * gain
            for k in range(i, end):
                for q in range(width):
                    extra[q] += abs(tile[k, q])
        _filter_tile(tile, extra, n, width, poles, powers, cycles, kind, extra.sum())
        for i in range(0, n, LINE):
            end = min(i + LINE, n)
            for q in range(width):
                for k in range(i, end):
                    cells[a + q, k, 0] = tile[k, q]


@compiled
def bounds_of_sum(cells: F8, scale: float, z: float, far: float, most: float, terms: int, low: F8, high: F8) -> None:
    """Add to sums, of which bounds are in `low` and `high`, the terms ``z**i * (c[i] + f[i])``, i from 1 on.

    Only the first cells c are known, times `scale`; of the others the magnitude is at most `most`, and of each f at
    most `far`. Additions and products keep order when they are rounded: where both bounds come out equal, they are what
    is the sum of the true cells to the bit.
    """
    before, known, behind = cells.shape
    for a in range(before):
        zi = z
        for i in range(terms):
            size = abs(zi)
            if size * (most + far) == 0.0:
                break
            if i % 16 == 15:
                least = np.inf
                gap = 0.0
                for b in range(behind):
                    least = min(least, abs(low[a, b]))
                    gap = max(gap, high[a, b] - low[a, b])
                if gap == 0.0 and least * NOTHING > size * (most + far):
                    break
            if i >= known:
                term = size * (most + far)
                for b in range(behind):
                    low[a, b] -= term
                    high[a, b] += term
            elif zi > 0.0:
                for b in range(behind):
                    value = cells[a, i, b] * scale
                    low[a, b] += zi * (value - far)
                    high[a, b] += zi * (value + far)
            else:
                for b in range(behind):
                    value = cells[a, i, b] * scale
                    low[a, b] += zi * (value + far)
                    high[a, b] += zi * (value - far)
            zi *= z


@compiled
def forward(source: F8, target: F8, gain: float, z: float, state: F8, is_start: bool) -> None:
    """Make the causal pass, from the cell before each line; or, if it `is_start`, from the value of its first cell."""
    before, n, behind = source.shape
    for a in range(before):
        for b in range(behind):
            target[a, 0, b] = state[a, b] if is_start else source[a, 0, b] * gain + z * state[a, b]
    if behind > 1:
        for a in range(before):
            for i in range(1, n):
                for b in range(behind):
                    target[a, i, b] = source[a, i, b] * gain + z * target[a, i - 1, b]
        return
    for a in range(0, before, LINE):
        end = min(a + LINE, before)
        for i in range(1, n):
            for k in range(a, end):
                target[k, i, 0] = source[k, i, 0] * gain + z * target[k, i - 1, 0]


@compiled
def backward(source: F8, target: F8, z: float, state: F8, is_start: bool) -> None:
    """Make the anticausal pass, from the cell behind each line; or, if it `is_start`, from that of its last cell."""
    before, n, behind = source.shape
    for a in range(before):
        for b in range(behind):
            target[a, n - 1, b] = state[a, b] if is_start else z * (state[a, b] - source[a, n - 1, b])
    if behind > 1:
        for a in range(before):
            for i in range(n - 2, -1, -1):
                for b in range(behind):
                    target[a, i, b] = z * (target[a, i + 1, b] - source[a, i, b])
        return
    for a in range(0, before, LINE):
        end = min(a + LINE, before)
        for i in range(n - 2, -1, -1):
            for k in range(a, end):
                target[k, i, 0] = z * (target[k, i + 1, 0] - source[k, i, 0])


@compiled
def redo_forward(source: F8, target: F8, gain: float, z: float, state: F8, true: F8) -> bool:
    """Make the causal pass again where lines began with another state; return whether there were any."""
    before, n, behind = source.shape
    redone = False
    for a in range(before):
        for b in range(behind):
            if not _differ(state[a, b], true[a, b]):
                continue
            state[a, b] = true[a, b]
            value = true[a, b]
            for i in range(n):
                value = source[a, i, b] * gain + z * value
                if not _differ(value, target[a, i, b]):
                    break
                target[a, i, b] = value
            redone = True
    return redone


@compiled
def redo_backward(source: F8, target: F8, z: float, state: F8, true: F8) -> bool:
    """Make the anticausal pass again where lines began with another state; return whether there were any."""
    before, n, behind = source.shape
    redone = False
    for a in range(before):
        for b in range(behind):
            if not _differ(state[a, b], true[a, b]):
                continue
            state[a, b] = true[a, b]
            value = true[a, b]
            for i in range(n - 1, -1, -1):
                value = z * (value - source[a, i, b])
                if not _differ(value, target[a, i, b]):
                    break
                target[a, i, b] = value
            redone = True
    return redone
