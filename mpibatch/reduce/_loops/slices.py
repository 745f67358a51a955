"""Compiled sums of lines as whole numbers: an element is cut into two slices, which add up exactly (`exact_sums.scan`).

That takes half the operations of error-free sums of doubles, and fewer reads and writes. Where slices do not hold some
elements of some lines, these are added to expansions as all others are. Imported late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact_sums import HALF, INFINITY, LOW32, MAGNITUDE, scan
from mpibatch.reduce._loops.states import SPECIAL, SQUARES, SUMS, WIDE, copy_columns, push_value
from mpibatch.reduce._loops.tiles import BLOCK, TILE, TOP, WIDTH, add_tile, feed, load_tile

__all__ = ["add_columns", "add_rows"]

Array = npt.NDArray[Any]
Int = Any

# Elements of a line that are sliced at once, and the biased exponents of the largest of them for which this is done.
SLICED, LOWEST, HIGHEST = 2048, 200, 1900
# Lines side by side that are sliced at once, elements of each, and how often not after slices did not hold them.
WIDE_BLOCK, DEPTH, UNTRIED = 1024, 512, 7
# The bits of -0.0.
NEGATIVE_ZERO = -0x8000000000000000


@compiled
def _cut(value: float, high_shift: float, low_shift: float) -> tuple[Int, Int, Int]:
    """Return the bits of a value's two slices, raised by what shifts them, and of what is left (`exact_sums.scan`)."""
    raised = value + high_shift
    rest = value - (raised - high_shift)
    raised_rest = rest + low_shift
    last = rest - (raised_rest - low_shift)
    return np.float64(raised).view(np.int64), np.float64(raised_rest).view(np.int64), np.float64(last).view(np.int64)


@compiled
def _magnitude(value: float) -> Int:
    """Return the bits without the sign. Local."""
    return np.float64(value).view(np.int64) & MAGNITUDE


@compiled
def _add_one_by_one(values: Array, state: Array, line: Int) -> None:
    """Add neighbors to the sum of a line. Local."""
    for i in range(values.shape[0]):
        bits = np.float64(values[i]).view(np.int64) & MAGNITUDE
        if bits >= INFINITY:
            state[SPECIAL, line] += values[i]
        elif bits >= TOP:
            state[WIDE, line] = 1.0
        else:
            push_value(state, SUMS, line, values[i])


@compiled
def _spell(slices: Array, tops: Array, shift: Int, upper: Array, lower: Array) -> None:
    """Write slices, in units of 2**(top - shift), as two rows of doubles; 0 as -0.0, which adds nothing. Local."""
    for i in range(slices.shape[0]):
        unit = np.int64((tops[i] - shift + 1023) << 52).view(np.float64)
        # Halves of a number below 2**63, which a double holds.
        upper_half, lower_half = slices[i] >> 32, slices[i] & LOW32
        upper[i] = np.float64(upper_half) * (4294967296.0 * unit) if upper_half != 0 else -0.0
        lower[i] = np.float64(lower_half) * unit if lower_half != 0 else -0.0


@compiled
def _spell_tile(
    values: Array, at: Int, steps: tuple[Int, Int], length: Int, high: Array, low: Array, tops: Array, sums: Array,
    tile: Array,
) -> None:  # fmt: skip
    """Write the slices of some elements of each line, from place `at` on, as a tile. Local."""
    _spell(high, tops, 1073, tile[0], tile[1])
    _spell(low, tops, 1125, tile[2], tile[3])
    for i in range(high.shape[0]):
        for k in range(4, TILE):
            tile[k, i] = -0.0
        if high[i] == 0 and low[i] == 0:
            for k in range(length):
                if np.float64(values[at + i * steps[0] + k * steps[1]]).view(np.int64) != NEGATIVE_ZERO:
                    sums[i] += 0.0
                    break


@compiled
def _push_slices(state: Array, line: Int, high: Int, low: Int, top: Int) -> None:
    """Add slices to the sum of a line. Local."""
    unit = np.int64((top - 1073 + 1023) << 52).view(np.float64)
    for total in (high, low):
        if total != 0:
            push_value(state, SUMS, line, np.float64(total >> 32) * (4294967296.0 * unit))
            push_value(state, SUMS, line, np.float64(total & LOW32) * unit)
        unit *= 2.0**-52


@compiled
def add_rows(shape: tuple[Int, Int], values: Array, starts: Array, step: Int, places: Array, state: Array) -> None:
    """Add planes of lines of neighbors to their states, in slices where these hold them (see `lines.add`). Local."""
    lines, length = shape
    local, work, tile = np.empty((SQUARES, WIDTH)), np.empty((1, TILE, WIDTH)), np.empty((TILE, WIDTH))
    high, low, tops = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    top: Int = np.int64(LOWEST)  # a guess of the largest exponent of the next neighbors
    for p in range(starts.shape[0]):
        first, plane = starts[p], state[:, places[p]]
        for start in range(0, lines, BLOCK):
            n = min(BLOCK, lines - start)
            copy_columns(plane, start, local, 0, SQUARES, n)
            for i in range(n):
                at = first + (start + i) * step
                for j in range(at, at + length, SLICED):
                    if j > at:
                        _push_slices(local, i, high[i], low[i], top)
                    block = values[j : min(j + SLICED, at + length)]
                    while True:  # once, or twice
                        largest, high[i], low[i], left = scan(block, top)
                        exponent = largest >> 52
                        if exponent == top or not (exponent > top or left != 0) or not LOWEST <= exponent <= HIGHEST:
                            break
                        top = exponent
                    if left != 0 or exponent > top:
                        high[i], low[i] = 0, 0
                        _add_one_by_one(block, local, i)
                tops[i] = top
            # Of each line the last slices, or the only ones, are left: these go to all at once.
            at = first + start * step
            _spell_tile(values, at, (step, 1), length, high[:n], low[:n], tops[:n], local[SUMS], tile)
            add_tile(tile, n, SUMS, SUMS, local, work[0])
            copy_columns(local, 0, plane, start, SQUARES, n)


@compiled
def _slice_columns(values: Array, at: Int, step: Int, rows: Int, top: Int, high: Array, low: Array) -> tuple[Int, Int]:
    """`exact_sums.scan` for many lines side by side: return the largest magnitude, and what is left over. Local.

    The rows, whose number is a multiple of four, begin at `at`, `step` apart.
    """
    high_magic = np.int64(((top + 2) << 52) | HALF)
    low_magic = np.int64(((top - 50) << 52) | HALF)
    high_shift = np.int64(high_magic).view(np.float64)
    low_shift = np.int64(low_magic).view(np.float64)
    largest, left = np.int64(0), np.int64(0)
    n = high.shape[0]
    for i in range(n):
        high[i], low[i] = 0, 0
    for first in range(at, at + rows * step, 4 * step):
        # Four at once, since what is kept of a line is read and written each time.
        row_a, row_b = values[first : first + n], values[first + step : first + step + n]
        row_c, row_d = values[first + 2 * step : first + 2 * step + n], values[first + 3 * step : first + 3 * step + n]
        for i in range(n):
            a, b, c, d = row_a[i], row_b[i], row_c[i], row_d[i]
            high_a, low_a, left_a = _cut(a, high_shift, low_shift)
            high_b, low_b, left_b = _cut(b, high_shift, low_shift)
            high_c, low_c, left_c = _cut(c, high_shift, low_shift)
            high_d, low_d, left_d = _cut(d, high_shift, low_shift)
            largest = max(largest, _magnitude(a), _magnitude(b), _magnitude(c), _magnitude(d))
            high[i] += (high_a + high_b) + (high_c + high_d) - 4 * high_magic
            low[i] += (low_a + low_b) + (low_c + low_d) - 4 * low_magic
            left |= (left_a | left_b) | (left_c | left_d)
    return largest, left & MAGNITUDE


@compiled
def add_columns(shape: tuple[Int, Int], values: Array, starts: Array, step: Int, places: Array, state: Array) -> None:
    """Add planes of lines side by side, with elements `step` apart, to their states, in slices where these hold them.

    Local. See `lines.add`.
    """
    lines, length = shape
    local, work, tile = np.empty((SQUARES, WIDTH)), np.empty((1, TILE, WIDTH)), np.empty((TILE, WIDTH))
    high, low, tops = np.empty(WIDE_BLOCK, np.int64), np.empty(WIDE_BLOCK, np.int64), np.empty(WIDE_BLOCK, np.int64)
    top: Int = np.int64(LOWEST)
    untried: Int = 0
    for p in range(starts.shape[0]):
        first, plane = starts[p], state[:, places[p]]
        for start in range(0, lines, WIDE_BLOCK):
            n = min(WIDE_BLOCK, lines - start)
            for j in range(0, length, DEPTH):
                depth = min(DEPTH, length - j)
                at = first + start + j * step
                sliced = depth - depth % 4
                if untried:
                    untried -= 1
                    sliced = 0
                if sliced:
                    while True:  # once, or twice
                        largest, left = _slice_columns(values, at, step, sliced, top, high[:n], low[:n])
                        exponent = largest >> 52
                        if exponent == top or not (exponent > top or left != 0) or not LOWEST <= exponent <= HIGHEST:
                            break
                        top = exponent
                    if left != 0 or exponent > top:
                        sliced, untried = 0, UNTRIED
                for i in range(n):
                    tops[i] = top
                for i in range(0, n, BLOCK):
                    m = min(BLOCK, n - i)
                    copy_columns(plane, start + i, local, 0, SQUARES, m)
                    for k in range(sliced - TILE if sliced else 0, depth, TILE):
                        if k < sliced:  # all slices are a tile
                            some, others = high[i : i + m], low[i : i + m]
                            _spell_tile(values, at + i, (1, step), sliced, some, others, tops[:m], local[SUMS], tile)
                        else:
                            load_tile(values, at + i + k * step, m, 1, min(TILE, depth - k), step, tile)
                        feed(tile, m, False, local, work)
                    copy_columns(local, 0, plane, start + i, SQUARES, m)
