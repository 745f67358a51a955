"""The compiled loops of exact sums along lines: many sums at once, each an expansion of four doubles.

A row of one element of each line is added at a time, level by level, in loops that vectorise; what leaves a level goes
to the next one. Lines for which four doubles are not enough, or whose magnitudes leave the range in which products are
exact, are told to the caller, who counts them again in another way. Imported late, since it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact import INFINITY, LOW32, MAGNITUDE, scan
from mpibatch.reduce._loops.expansions import append, product, quotient, root, rounded, two_product, two_sum

__all__ = ["COLUMNS", "COUNT", "SPECIAL", "SQUARES", "SUMS", "add", "finish_means", "finish_sums", "finish_variances"]
__all__ += ["merge"]

Array = npt.NDArray[Any]
Int = Any

# Of the state of a line: its sum, what was infinite or NaN, how many elements, and the sum of their squares.
LEVELS = 4
SUMS, SPECIAL, COUNT, SQUARES = 0, 4, 5, 6
COLUMNS = 10

# Lines at once: their rows and levels stay in the L1 cache.
BLOCK = 256
# Of their arrays: rows that begin at the same place of a page would meet in the same few lines of the cache.
WIDTH = BLOCK + 24
# Columns of elements that are read together.
TILE = 8
# Where lines are fewer than FEW, and have at least LONG neighbours, each is added in lanes, of LANE elements or more.
FEW, LONG, LANE = 64, 64, 16
# Neighbours that are sliced at once, and the biased exponents of the largest of them for which this is done.
SLICED, LOWEST, HIGHEST = 2048, 200, 1900
# Magnitudes from 2**900 on may overflow a sum; beyond 2**-450 ... 2**450 a square is not exact.
TOP = (1023 + 900) << 52
SQUARE_TOP = (1023 + 450) << 52
SQUARE_BOTTOM = (1023 - 450) << 52
# Results below are not rounded from expansions, since a product's error could underflow.
LEAST = 2.0**-900
MOST_DIVISOR = 2.0**53


@compiled
def push(levels: Array, row: Array, rest: Array) -> Int:
    """Add a row to expansions, one in each column of `levels`; return nonzero if something did not fit. Local."""
    first, second = levels[0], levels[1]
    left = np.int64(0)
    for i in range(row.shape[0]):
        total, error = two_sum(first[i], row[i])
        first[i] = total
        total, error = two_sum(second[i], error)
        second[i] = total
        rest[i] = error
        left |= np.float64(error).view(np.int64)
    if (left & MAGNITUDE) == 0:
        return np.int64(0)
    third, fourth = levels[2], levels[3]
    left = np.int64(0)
    for i in range(row.shape[0]):
        total, error = two_sum(third[i], rest[i])
        third[i] = total
        total, error = two_sum(fourth[i], error)
        fourth[i] = total
        left |= np.float64(error).view(np.int64)
    return left & MAGNITUDE


@compiled
def push_squares(levels: Array, row: Array, high: Array, low: Array, rest: Array) -> Int:
    """Add the squares of a row; return nonzero if something did not fit. Local."""
    for i in range(row.shape[0]):
        high[i], low[i] = two_product(row[i], row[i])
    return push(levels, high, rest) | push(levels, low, rest)


@compiled
def set_aside(row: Array, special: Array, top: Int) -> bool:
    """Move what is not finite to `special`; return whether something finite is too large. Local."""
    is_wide = False
    for i in range(row.shape[0]):
        bits = np.float64(row[i]).view(np.int64) & MAGNITUDE
        if bits >= INFINITY:
            special[i] += row[i]
            row[i] = -0.0
        elif bits >= top:
            is_wide = True
            row[i] = -0.0
    return is_wide


@compiled
def feed(row: Array, has_squares: bool, local: Array, work: Array) -> Any:
    """Add a row of one element of each line, already chosen; return whether some do not fit. Local.

    `local` holds the state of these lines, one in each column.
    """
    n = row.shape[0]
    top = SQUARE_TOP if has_squares else TOP
    large = np.int64(0)
    small = np.int64(0)
    for i in range(n):
        bits = np.float64(row[i]).view(np.int64) & MAGNITUDE
        large |= (top - 1) - bits
        # Negative for what is small, but not for 0.
        small |= (bits - SQUARE_BOTTOM) & -bits
    is_wide = large < 0 and set_aside(row, local[SPECIAL], top)
    if push(local[SUMS : SUMS + LEVELS], row, work[0]) != 0:
        is_wide = True
    if has_squares:
        squares = local[SQUARES : SQUARES + LEVELS]
        if small < 0 or push_squares(squares, row, work[1][:n], work[2][:n], work[0]) != 0:
            is_wide = True
    return is_wide


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
    """Write some columns of some lines to the rows of `tile`. Local."""
    for i in range(n):
        start = at + i * step
        if step_along == 1 and width == TILE:
            line = values[start : start + TILE]
            for k in range(TILE):
                tile[k, i] = line[k]
        else:
            for k in range(width):
                tile[k, i] = values[start + k * step_along]


@compiled
def clear(state: Array) -> None:
    """Set states to those of no elements. Local."""
    state[:] = 0.0
    state[SUMS] = -0.0


@compiled
def push_value(state: Array, first: Int, line: Int, value: float) -> bool:
    """Add a value to the expansion of a line that begins in row `first`; return whether it does not fit. Local."""
    for row in range(first, first + LEVELS):
        state[row, line], value = two_sum(state[row, line], value)
        if value == 0.0:
            return False
    return True


@compiled
def collect(local: Array, n: Int, rows: Int, state: Array, line: Int) -> bool:
    """Add the first `n` states of `local` to that of a line; return whether it does not fit. Local."""
    is_wide = False
    for i in range(n):
        state[SPECIAL, line] += local[SPECIAL, i]
        state[COUNT, line] += local[COUNT, i]
        for group in range(1 + (rows - SQUARES) // LEVELS):
            first = SUMS if group == 0 else SQUARES + (group - 1) * LEVELS
            for level in range(LEVELS):
                value = local[first + level, i]
                # 0.0 from another level would turn a sum of -0.0 into 0.0.
                if level == 0 or value != 0.0:
                    is_wide |= push_value(state, first, line, value)
    return is_wide


@compiled
def add_one_by_one(values: Array, state: Array, line: Int) -> bool:
    """Add neighbours to the sum of a line; return whether they do not fit. Local."""
    is_wide = False
    for i in range(values.shape[0]):
        bits = np.float64(values[i]).view(np.int64) & MAGNITUDE
        if bits >= INFINITY:
            state[SPECIAL, line] += values[i]
        elif bits >= TOP:
            is_wide = True
        else:
            is_wide |= push_value(state, SUMS, line, values[i])
    return is_wide


@compiled
def add_slices(values: Array, state: Array, line: Int, top: Int) -> tuple[bool, Int]:
    """Add neighbours to the sum of a line; return whether they do not fit, and the `top` for the next. Local.

    As whole numbers in two slices (see `exact.scan`), where these hold them; `top` is a guess of the largest exponent.
    """
    is_wide = False
    for start in range(0, values.shape[0], SLICED):
        block = values[start : start + SLICED]
        largest, high, low, left = scan(block, top)
        exponent = largest >> 52
        if (exponent > top or left != 0) and LOWEST <= exponent <= HIGHEST and exponent != top:
            top = exponent
            largest, high, low, left = scan(block, top)
        if largest == 0 or left != 0 or exponent > top:
            is_wide |= add_one_by_one(block, state, line)
        else:
            unit = np.int64((top - 1073 + 1023) << 52).view(np.float64)
            for total in (high, low):
                # Halves of a sum below 2**63, which a double holds.
                is_wide |= push_value(state, SUMS, line, np.float64(total >> 32) * 4294967296.0 * unit)
                is_wide |= push_value(state, SUMS, line, np.float64(total & LOW32) * unit)
                unit *= 2.0**-52
    return is_wide, top


@compiled
def add(
    shape: tuple[Int, Int],
    values: Array,
    steps: tuple[Int, Int],
    mask: Array,
    mask_steps: tuple[Int, Int],
    options: tuple[bool, bool, bool],
    state: Array,
) -> bool:
    """Add lines to their states; return whether some do not fit. Local.

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
    local, work, row = np.empty((COLUMNS, WIDTH)), np.empty((3, WIDTH)), np.empty(WIDTH)
    tile = np.empty((TILE, WIDTH))
    is_wide = False
    chooses = is_masked or skips_nan
    if step_along == 1 and length >= LONG and not (chooses or has_squares):
        top: Int = np.int64(LOWEST)
        for line in range(lines):
            does_not_fit, top = add_slices(values[line * step : line * step + length], state, line, top)
            is_wide |= does_not_fit
    elif step_along == 1 and length >= LONG and lines < FEW:
        lanes = min(BLOCK, length // LANE)
        for line in range(lines):
            clear(local[:, :lanes])
            for start in range(0, length, lanes):
                n = min(lanes, length - start)
                row[:n] = values[line * step + start : line * step + start + n]
                if chooses:
                    at = line * mask_step + start * mask_step_along
                    choose(row[:n], mask, at, mask_step_along, is_masked, skips_nan, local[COUNT])
                is_wide |= feed(row[:n], has_squares, local, work)
            is_wide |= collect(local, lanes, rows, state, line)
    else:
        for start in range(0, lines, BLOCK):
            n = min(BLOCK, lines - start)
            local[:rows, :n] = state[:, start : start + n]
            for j in range(length):
                at = start * step + j * step_along
                if step == 1:
                    row[:n] = values[at : at + n]
                else:
                    # Several columns at a time, since neighbours share a cache line.
                    if j % TILE == 0:
                        load_tile(values, at, n, step, min(TILE, length - j), step_along, tile)
                    row[:n] = tile[j % TILE, :n]
                if chooses:
                    at = start * mask_step + j * mask_step_along
                    choose(row[:n], mask, at, mask_step, is_masked, skips_nan, local[COUNT])
                is_wide |= feed(row[:n], has_squares, local, work)
            state[:, start : start + n] = local[:rows, :n]
    if not chooses:
        state[COUNT] += float(length)
    return is_wide


@compiled
def merge(state: Array, other: Array, rows: Int, wide: Array) -> None:
    """Add states of lines to others, of which `rows` rows are in use; mark those that do not fit. Local."""
    for i in range(state.shape[1]):
        if collect(other[:, i : i + 1], 1, rows, state, i):
            wide[i] = 1.0


@compiled
def load(state: Array, first: Int, i: Int, partials: Array) -> Int:
    """Write a line's expansion as partial sums; return how many. Local."""
    n = 0
    for level in range(LEVELS):
        n = append(partials, n, state[first + level, i])
    return n


@compiled
def zero(state: Array, i: Int) -> float:
    """Return the zero that a line's sum is: -0.0 if all its elements are. Local."""
    return state[SUMS, i] if state[SUMS, i] == 0.0 else 0.0


@compiled
def finish_sums(state: Array, out: Array) -> None:
    """Round sums; of no elements they are 0.0. Local."""
    partials = np.empty(2 * LEVELS)
    for i in range(out.shape[0]):
        if state[SPECIAL, i] != 0.0:
            out[i] = state[SPECIAL, i]
        elif state[COUNT, i] == 0.0:
            out[i] = 0.0
        else:
            n = load(state, SUMS, i, partials)
            out[i] = rounded(partials, n) if n else zero(state, i)


@compiled
def finish_means(state: Array, out: Array, doubtful: Array) -> None:
    """Divide sums by counts, NaN where there is nothing; mark what has to be rounded in another way. Local."""
    partials, scratch = np.empty(32), np.empty(32)
    for i in range(out.shape[0]):
        count = state[COUNT, i]
        if state[SPECIAL, i] != 0.0:
            out[i] = state[SPECIAL, i]
        elif count == 0.0:
            out[i] = np.nan
        else:
            n = load(state, SUMS, i, partials)
            if n == 0:
                out[i] = zero(state, i)
            else:
                out[i] = quotient(partials, n, count, scratch)
                doubtful[i] = abs(out[i]) < LEAST


@compiled
def finish_variances(state: Array, ddof: float, is_root: bool, out: Array, doubtful: Array) -> None:
    """Return variances, or their roots: (count * squares - sum**2) / (count * (count - ddof)). Local."""
    partials, scratch = np.empty(128), np.empty(128)
    for i in range(out.shape[0]):
        count = state[COUNT, i]
        if state[SPECIAL, i] != 0.0 or count - ddof <= 0.0:
            out[i] = np.nan
            continue
        n = 0
        for a in range(LEVELS):
            n = product(partials, n, count, state[SQUARES + a, i])
            for b in range(LEVELS):
                n = product(partials, n, -state[SUMS + a, i], state[SUMS + b, i])
        divisor = count * (count - ddof)
        if divisor >= MOST_DIVISOR:
            doubtful[i] = True
        elif n == 0:
            out[i] = 0.0
        else:
            variance = quotient(partials, n, divisor, scratch)
            doubtful[i] = variance < LEAST
            out[i] = root(partials, n, divisor, scratch) if is_root else variance
