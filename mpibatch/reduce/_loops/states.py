"""What is kept of a line while it is summed, and the compiled rounding of it. Imported late, since it loads numba.

A state is a column of a table: its sum and the sum of its squares are expansions of four doubles each (see
`expansions`). Lines for which these are not enough are marked as wide, and counted by the caller in another way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.expansions import append, product, quotient, root, rounded, two_sum

__all__ = ["COLUMNS", "COUNT", "LEVELS", "SPECIAL", "SQUARES", "SUMS", "WIDE", "clear", "collect", "copy_columns"]
__all__ += ["finish_means", "finish_sums", "finish_variances", "merge", "push_value"]

Array = npt.NDArray[Any]
Int = Any

# Of a state: the sum, what was infinite or NaN, how many elements, whether it is wide, and the sum of squares.
LEVELS = 4
SUMS, SPECIAL, COUNT, WIDE, SQUARES = 0, 4, 5, 6, 7
COLUMNS = 11

# Results below are not rounded from expansions, since a product's error could underflow.
LEAST = 2.0**-900
MOST_DIVISOR = 2.0**53


@compiled
def copy_columns(source: Array, at: Int, target: Array, place: Int, rows: Int, n: Int) -> None:
    """Copy columns [at, at + n) of the first rows to the columns from `place` on. Local.

    numba takes far longer to compile the assignment of a slice, which may fail.
    """
    for row in range(rows):
        for i in range(n):
            target[row, place + i] = source[row, at + i]


@compiled
def clear(state: Array) -> None:
    """Set states to those of no elements. Local."""
    state[:] = 0.0
    state[SUMS] = -0.0


@compiled
def push_value(state: Array, first: Int, line: Int, value: float) -> None:
    """Add a value to the expansion of a line that begins in row `first`. Local."""
    for row in range(first, first + LEVELS):
        state[row, line], value = two_sum(state[row, line], value)
        if value == 0.0:
            return
    state[WIDE, line] = 1.0


@compiled
def collect(local: Array, n: Int, rows: Int, state: Array, line: Int) -> None:
    """Add the first `n` states of `local`, of which `rows` rows are in use, to that of a line. Local."""
    for i in range(n):
        for row in (SPECIAL, COUNT, WIDE):
            state[row, line] += local[row, i]
        for group in range(1 + (rows - SQUARES) // LEVELS):
            first = SUMS if group == 0 else SQUARES + (group - 1) * LEVELS
            for level in range(LEVELS):
                value = local[first + level, i]
                # 0.0 from another level would turn a sum of -0.0 into 0.0.
                if level == 0 or value != 0.0:
                    push_value(state, first, line, value)


@compiled
def merge(state: Array, other: Array) -> None:
    """Add states of lines to others. Local."""
    for i in range(state.shape[1]):
        collect(other[:, i : i + 1], 1, state.shape[0], state, i)


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
def special(state: Array, i: Int) -> float:
    """Return the infinity, or the one NaN, that a line with something of the kind sums up to. Local."""
    return state[SPECIAL, i] if state[SPECIAL, i] == state[SPECIAL, i] else np.nan


@compiled
def finish_sums(state: Array, out: Array) -> None:
    """Round sums; of no elements they are 0.0. Local."""
    partials = np.empty(2 * LEVELS)
    for i in range(out.shape[0]):
        if state[SPECIAL, i] != 0.0:
            out[i] = special(state, i)
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
            out[i] = special(state, i)
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
