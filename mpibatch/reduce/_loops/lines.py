"""The compiled loops of exact sums along lines: many sums at once, each an expansion of four doubles.

A few elements of each line are added at a time, level by level, in loops that vectorise; what leaves two levels goes to
the next two. Lines for which these are not enough, or whose magnitudes leave the range in which products are exact, are
marked as wide. Imported late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact import INFINITY, LOW32, MAGNITUDE, scan
from mpibatch.reduce._loops.expansions import append, two_product, two_sum
from mpibatch.reduce._loops.states import (
    COLUMNS,
    COUNT,
    LEVELS,
    SPECIAL,
    SQUARES,
    SUMS,
    WIDE,
    clear,
    collect,
    push_value,
)

__all__ = ["add"]

Array = npt.NDArray[Any]
Int = Any

# Lines at once: their elements and levels stay in the L1 cache.
BLOCK = 256
# Of their arrays: rows that begin at the same place of a page would meet in the same few lines of the cache.
WIDTH = BLOCK + 24
# Elements of each line that are added together.
TILE = 8
# Where lines are fewer than FEW, and have at least LONG neighbours, each is added in lanes, of LANE elements or more.
FEW, LONG, LANE = 64, 64, 16
# Neighbours that are sliced at once, and the biased exponents of the largest of them for which this is done.
SLICED, LOWEST, HIGHEST = 2048, 200, 1900
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
def push_rest(local: Array, first: Int, rest: Array, n: Int) -> Int:
    """Add what two levels left of a tile to the next two; return nonzero if anything is left over, as `push`. Local."""
    return push(local[first + 2], local[first + 3], rest, rest, n)


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
def square(tile: Array, high: Array, low: Array, n: Int) -> None:
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
def feed(tile: Array, n: Int, has_squares: bool, local: Array, work: Array) -> None:
    """Add some elements of each line, already chosen, to the states of these lines, one in each column. Local."""
    bottom, top = (SQUARE_BOTTOM, SQUARE_TOP) if has_squares else (0, TOP)
    if not are_usual(tile, n, bottom, top):
        set_aside(tile, n, bottom, top, local)
    rest = work[0]
    if push(local[SUMS], local[SUMS + 1], tile, rest, n) != 0 and push_rest(local, SUMS, rest, n) != 0:
        settle(local, SUMS, rest, n)
    if has_squares:
        high, low = work[1], work[2]
        square(tile, high, low, n)
        if push(local[SQUARES], local[SQUARES + 1], high, rest, n) != 0 and push_rest(local, SQUARES, rest, n) != 0:
            settle(local, SQUARES, rest, n)
        # Errors of products are far smaller: they begin two levels below.
        if push_rest(local, SQUARES, low, n) != 0:
            settle(local, SQUARES, low, n)


@compiled
def choose(row: Array, mask: Array, at: Int, step: Int, is_masked: bool, skips_nan: bool, count: Array) -> None:
    """Count the elements of a row that are chosen, and make the others -0.0, which adds nothing. Local."""
    for i in range(row.shape[0]):
        if (is_masked and not mask[at + i * step]) or (skips_nan and row[i] != row[i]):
            row[i] = -0.0
        else:
            count[i] += 1.0


@compiled
def load_tile(values: Array, at: Int, n: Int, step: Int, width: Int, step_along: Int, tile: Array) -> None:
    """Write some columns of some lines to the rows of `tile`, and -0.0, which adds nothing, to the others. Local."""
    if step == 1:
        for k in range(width):
            tile[k, :n] = values[at + k * step_along : at + k * step_along + n]
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
        tile[k, :n] = -0.0


@compiled
def add_one_by_one(values: Array, state: Array, line: Int) -> None:
    """Add neighbours to the sum of a line. Local."""
    for i in range(values.shape[0]):
        bits = np.float64(values[i]).view(np.int64) & MAGNITUDE
        if bits >= INFINITY:
            state[SPECIAL, line] += values[i]
        elif bits >= TOP:
            state[WIDE, line] = 1.0
        else:
            push_value(state, SUMS, line, values[i])


@compiled
def add_slices(values: Array, state: Array, line: Int, top: Int) -> Int:
    """Add neighbours to the sum of a line; return the `top` for the next. Local.

    As whole numbers in two slices (see `exact.scan`), where these hold them; `top` is a guess of the largest exponent.
    """
    for start in range(0, values.shape[0], SLICED):
        block = values[start : start + SLICED]
        largest, high, low, left = scan(block, top)
        exponent = largest >> 52
        if (exponent > top or left != 0) and LOWEST <= exponent <= HIGHEST and exponent != top:
            top = exponent
            largest, high, low, left = scan(block, top)
        if largest == 0 or left != 0 or exponent > top:
            add_one_by_one(block, state, line)
        else:
            unit = np.int64((top - 1073 + 1023) << 52).view(np.float64)
            for total in (high, low):
                # Halves of a sum below 2**63, which a double holds.
                push_value(state, SUMS, line, np.float64(total >> 32) * 4294967296.0 * unit)
                push_value(state, SUMS, line, np.float64(total & LOW32) * unit)
                unit *= 2.0**-52
    return top


@compiled
def add(
    shape: tuple[Int, Int],
    values: Array,
    steps: tuple[Int, Int],
    mask: Array,
    mask_steps: tuple[Int, Int],
    options: tuple[bool, bool, bool],
    state: Array,
) -> None:
    """Add lines to their states. Local.

    For a shape (lines, elements of each): element j of line i is ``values[i * steps[0] + j * steps[1]]``, and likewise
    in the mask. The options: whether there is a mask, whether NaN are left out, whether squares are added, too. `state`
    has a column for each line; its sums begin with -0.0. Lines of neighbours are added in slices, or, if they are few,
    cut into lanes as if they were many.
    """
    lines, length = shape
    step, step_along = steps
    mask_step, mask_step_along = mask_steps
    is_masked, skips_nan, has_squares = options
    rows = state.shape[0]
    local, work, tile = np.empty((COLUMNS, WIDTH)), np.empty((3, TILE, WIDTH)), np.empty((TILE, WIDTH))
    chooses = is_masked or skips_nan
    if step_along == 1 and length >= LONG and not (chooses or has_squares):
        top: Int = np.int64(LOWEST)
        for line in range(lines):
            top = add_slices(values[line * step : line * step + length], state, line, top)
    elif step_along == 1 and length >= LONG and lines < FEW:
        lanes = min(BLOCK, length // LANE)
        for line in range(lines):
            clear(local)
            for start in range(0, length, lanes * TILE):
                # The lanes are the columns of a plane whose rows follow one another.
                left = length - start
                whole = min(TILE, left // lanes)
                at = line * step + start
                load_tile(values, at, lanes, 1, whole, lanes, tile)
                ending = left - whole * lanes if whole < TILE else 0
                if ending:
                    tile[whole, :ending] = values[at + whole * lanes : at + left]
                if chooses:
                    at = line * mask_step + start * mask_step_along
                    for k in range(TILE):
                        n = lanes if k < whole else ending if k == whole else 0
                        there = at + k * lanes * mask_step_along
                        choose(tile[k, :n], mask, there, mask_step_along, is_masked, skips_nan, local[COUNT])
                feed(tile, lanes, has_squares, local, work)
            collect(local, lanes, rows, state, line)
    else:
        for start in range(0, lines, BLOCK):
            n = min(BLOCK, lines - start)
            local[:rows, :n] = state[:, start : start + n]
            for j in range(0, length, TILE):
                width = min(TILE, length - j)
                load_tile(values, start * step + j * step_along, n, step, width, step_along, tile)
                for k in range(width if chooses else 0):
                    at = start * mask_step + (j + k) * mask_step_along
                    choose(tile[k, :n], mask, at, mask_step, is_masked, skips_nan, local[COUNT])
                feed(tile, n, has_squares, local, work)
            state[:, start : start + n] = local[:rows, :n]
    if not chooses:
        state[COUNT] += float(length)
