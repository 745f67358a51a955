"""Compiled sums of tiles: a few elements of each of many lines, added to expansions of four doubles.

They are added level by level, in loops that vectorize; what leaves two levels goes to the next two. Lines for which
these are not enough, or whose magnitudes leave the range in which products are exact, are marked as wide. Imported
late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact_sums import INFINITY, MAGNITUDE
from mpibatch.reduce._loops.expansions import append, two_product, two_sum
from mpibatch.reduce._loops.states import LEVELS, SPECIAL, SQUARES, SUMS, WIDE

__all__ = ["BLOCK", "TILE", "TOP", "WIDTH", "add_tile", "are_usual", "feed", "load_tile", "set_aside"]

Array = npt.NDArray[Any]
Int = Any

# Lines at once: their elements and levels stay in the L1 cache.
BLOCK = 256
# Of their arrays: rows that begin at the same place of a page would meet in the same few lines of the cache.
WIDTH = BLOCK + 24
# Elements of each line that are added together.
TILE = 8
# Magnitudes from 2**900 on may overflow a sum; beyond 2**-450 ... 2**450 a square is not exact.
TOP = (1023 + 900) << 52
SQUARE_TOP = (1023 + 450) << 52
SQUARE_BOTTOM = (1023 - 450) << 52


@compiled
def push(first: Array, second: Array, tile: Array, rest: Array, n: Int) -> Int:
    """Add a tile to two levels; return nonzero if anything is left over, which `rest` then holds. Local."""
    left = np.int64(0)
    for i in range(n):
        high, low = first[i], second[i]
        for k in range(TILE):
            high, error = two_sum(high, tile[k, i])
            low, error = two_sum(low, error)
            rest[k, i] = error
            left |= np.float64(error).view(np.int64)
        first[i], second[i] = high, low
    return left & MAGNITUDE


@compiled
def settle(local: Array, first: Int, rest: Array, n: Int) -> None:
    """Add what is left of a tile to expansions that are made anew, and mark lines in which they lack room. Local."""
    partials = np.empty(LEVELS + 2)
    for k in range(TILE):
        for i in range(n):
            if rest[k, i] != 0.0:
                count = append(partials, 0, rest[k, i])
                for level in range(LEVELS):
                    count = append(partials, count, local[first + level, i])
                if count > LEVELS:
                    local[WIDE, i] = 1.0
                for level in range(LEVELS):
                    local[first + level, i] = partials[count - 1 - level] if level < count else 0.0


@compiled
def _square(tile: Array, high: Array, low: Array, n: Int) -> None:
    """Write the squares of a tile, and their errors. Local."""
    for k in range(TILE):
        for i in range(n):
            high[k, i], low[k, i] = two_product(tile[k, i], tile[k, i])


@compiled
def are_usual(tile: Array, n: Int, bottom: Int, top: Int) -> bool:
    """Whether all magnitudes are below those of the bits `top`, and 0 or at least those of `bottom`. Local."""
    unusual = np.int64(0)
    for k in range(TILE):
        for i in range(n):
            bits = np.float64(tile[k, i]).view(np.int64) & MAGNITUDE
            # Negative for what is too large, or small, but not for 0.
            unusual |= ((top - 1) - bits) | ((bits - bottom) & -bits)
    return bool(unusual >= 0)


@compiled
def set_aside(tile: Array, n: Int, bottom: Int, top: Int, local: Array) -> None:
    """Move what is not finite out of a tile, and mark lines with magnitudes that are unusual. Local."""
    for k in range(TILE):
        for i in range(n):
            bits = np.float64(tile[k, i]).view(np.int64) & MAGNITUDE
            if bits >= INFINITY:
                local[SPECIAL, i] += tile[k, i]
                tile[k, i] = -0.0
            elif bits >= top or (bits != 0 and bits < bottom):
                local[WIDE, i] = 1.0
                tile[k, i] = -0.0


@compiled
def add_tile(tile: Array, n: Int, first: Int, level: Int, local: Array, rest: Array) -> None:
    """Add a tile, which is used up, to the expansions that begin in row `first`, from row `level` on. Local.

    What leaves two levels goes to the next two. Called in one place of a loop each: compilers copy what is called.
    """
    source, target = tile, rest
    for row in range(level, first + LEVELS, 2):
        if push(local[row], local[row + 1], source, target, n) == 0:
            return
        source, target = target, source
    settle(local, first, source, n)


@compiled
def feed(tile: Array, n: Int, has_squares: bool, local: Array, work: Array) -> None:
    """Add some elements of each line, already chosen, to the states of these lines, one in each column. Local.

    The tile is used up.
    """
    bottom, top = (SQUARE_BOTTOM, SQUARE_TOP) if has_squares else (0, TOP)
    if not are_usual(tile, n, bottom, top):
        set_aside(tile, n, bottom, top, local)
    if has_squares:
        _square(tile, work[1], work[2], n)
    source, first, level = tile, SUMS, SUMS
    for part in range(3 if has_squares else 1):
        if part:
            # Errors of products are far smaller: they begin two levels below.
            source, first, level = work[part], SQUARES, SQUARES + 2 * (part - 1)
        add_tile(source, n, first, level, local, work[0])


@compiled
def load_tile(values: Array, at: Int, n: Int, step: Int, width: Int, step_along: Int, tile: Array) -> None:
    """Write some columns of some lines to the rows of `tile`, and -0.0, which adds nothing, to the others. Local."""
    if step == 1:
        for k in range(width):
            first = at + k * step_along
            for i in range(n):
                tile[k, i] = values[first + i]
    elif step_along == 1 and width == TILE:
        for i in range(n):
            line = values[at + i * step : at + i * step + TILE]
            for k in range(TILE):
                tile[k, i] = line[k]
    else:
        for i in range(n):
            for k in range(width):
                tile[k, i] = values[at + i * step + k * step_along]
    for k in range(width, TILE):
        for i in range(n):
            tile[k, i] = -0.0
