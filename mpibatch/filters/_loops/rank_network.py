"""Compiled order statistics over small windows: networks of comparators on rows of cells.

A comparator takes two rows and leaves the smaller cells in one and the larger in the other, for as many cells at
once as the processor's vectors hold. There are no branches, and the cost does not depend on the values.

Floats are compared by the integers that order them (`key`): -0.0 comes before 0.0, NaN after infinity (before
-infinity if its sign is set). Results are then the same cell by cell whatever algorithm or block computes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["median_of_nine", "select"]

Array = Any
BUFFER_BYTES = 65536  # what the rows of a window may take: L1 and a part of L2


@compiled
def _keys(bits: Array, out: Array, sign: int, rest: int) -> None:
    """Write integers in the order of the floats whose bits are given, or the other way round. Local."""
    if sign:
        for x in range(out.size):
            out[x] = bits[x] ^ ((bits[x] >> sign) & rest)
    else:
        for x in range(out.size):
            out[x] = bits[x]


@compiled
def _run(rows: Array, network: Array) -> None:
    """Sort pairs of rows cell by cell; a comparator's third entry says which of its results matter. Local."""
    lanes = rows.shape[1]
    for i in range(network.shape[0]):
        low, high, keep = rows[network[i, 0]], rows[network[i, 1]], network[i, 2]
        if keep == 3:
            for x in range(lanes):
                a, b = low[x], high[x]
                low[x] = min(a, b)
                high[x] = max(a, b)
        elif keep == 1:
            for x in range(lanes):
                low[x] = min(low[x], high[x])
        else:
            for x in range(lanes):
                high[x] = max(low[x], high[x])


@compiled
def select(
    cells: Array,
    bases: Array,
    offsets: Array,
    network: Array,
    answer: int,
    sign: int,
    rest: int,
    out: Array,
    targets: Array,
    length: int,
) -> None:
    """Write what `network` leaves in row `answer` of each window's cells. Local.

    Rows as in `mpibatch.filters._engine.rows.Rows`; `network` has a line (row, row, keep) for each comparator. Cells
    are integers; `sign` is the shift that leaves a float's sign bit (0: they are no floats), `rest` masks the others.
    """
    count, total = offsets.size, bases.size * length
    lanes = max(64, min(2048, BUFFER_BYTES // (count * cells.itemsize) // 64 * 64))
    rows = np.zeros((count, lanes), cells.dtype)
    # Short rows share a turn, so that the vectors are full.
    for begin in range(0, total, lanes):
        end = min(total, begin + lanes)
        at = begin
        while at < end:
            r, x = at // length, at % length
            part = min(length - x, end - at)
            lane = at - begin
            for i in range(count):
                first = bases[r] + offsets[i] + x
                _keys(cells[first : first + part], rows[i, lane : lane + part], sign, rest)
            at += part
        _run(rows, network)
        at = begin
        while at < end:
            r, x = at // length, at % length
            part = min(length - x, end - at)
            lane = at - begin
            first = targets[r] + x
            _keys(rows[answer, lane : lane + part], out[first : first + part], sign, rest)
            at += part


@compiled
def _sort_columns(top: Array, mid: Array, low: Array, rows: Array, sign: int, rest: int) -> None:
    """Sort three rows of cells column by column into `rows`. Local."""
    least, middle, most = rows[0], rows[1], rows[2]
    if sign:
        for x in range(least.size):
            a, b, c = top[x], mid[x], low[x]
            a, b, c = a ^ ((a >> sign) & rest), b ^ ((b >> sign) & rest), c ^ ((c >> sign) & rest)
            s, t = min(a, b), max(a, b)
            u = min(t, c)
            most[x] = max(t, c)
            least[x] = min(s, u)
            middle[x] = max(s, u)
    else:
        for x in range(least.size):
            a, b, c = top[x], mid[x], low[x]
            s, t = min(a, b), max(a, b)
            u = min(t, c)
            most[x] = max(t, c)
            least[x] = min(s, u)
            middle[x] = max(s, u)


@compiled
def _sort_two_columns(top: Array, mid: Array, low: Array, end: Array, upper: Array, lower: Array) -> None:
    """Sort the first three and the last three of four rows of cells; the two they share are compared once. Local."""
    u0, u1, u2 = upper[0], upper[1], upper[2]
    w0, w1, w2 = lower[0], lower[1], lower[2]
    for x in range(u0.size):
        a, b, c, d = top[x], mid[x], low[x], end[x]
        s, t = min(b, c), max(b, c)
        u, w = max(a, s), max(d, s)
        u0[x] = min(a, s)
        u1[x] = min(u, t)
        u2[x] = max(u, t)
        w0[x] = min(d, s)
        w1[x] = min(w, t)
        w2[x] = max(w, t)


@compiled
def _median_of_columns(rows: Array, step: int, out: Array) -> None:
    """Write medians of three sorted columns each: of the largest least, median middle, and least most cell. Local."""
    width = out.size
    l0, l1, l2 = rows[0, :width], rows[0, step : step + width], rows[0, 2 * step : 2 * step + width]
    m0, m1, m2 = rows[1, :width], rows[1, step : step + width], rows[1, 2 * step : 2 * step + width]
    h0, h1, h2 = rows[2, :width], rows[2, step : step + width], rows[2, 2 * step : 2 * step + width]
    for x in range(width):
        low = max(l0[x], l1[x], l2[x])
        high = min(h0[x], h1[x], h2[x])
        a, b = m0[x], m1[x]
        mid = max(min(a, b), min(max(a, b), m2[x]))
        out[x] = max(min(low, mid), min(max(low, mid), high))


@compiled
def median_of_nine(
    cells: Array, bases: Array, lines: Array, step: int, sign: int, rest: int, out: Array, targets: Array, length: int
) -> None:
    """Write the medians of 3 × 3 cells: at each of the three offsets `lines`, three cells `step` apart. Local.

    Columns of three are sorted once for the three windows that they are part of, and two rows of windows at a time
    where the second lies just below the first.
    """
    columns = length + 2 * step
    rows, below = np.empty((3, columns), cells.dtype), np.empty((3, columns), cells.dtype)
    down = lines[1] - lines[0]
    r = 0
    while r < bases.size:
        a, b, c = bases[r] + lines[0], bases[r] + lines[1], bases[r] + lines[2]
        top, mid, low = cells[a : a + columns], cells[b : b + columns], cells[c : c + columns]
        pair = sign == 0 and c - b == down and r + 1 < bases.size and bases[r + 1] - bases[r] == down
        if pair:
            d = c + down
            _sort_two_columns(top, mid, low, cells[d : d + columns], rows, below)
            _median_of_columns(below, step, out[targets[r + 1] : targets[r + 1] + length])
        else:
            _sort_columns(top, mid, low, rows, sign, rest)
        medians = out[targets[r] : targets[r] + length]
        _median_of_columns(rows, step, medians)
        if sign:
            for x in range(length):
                medians[x] = medians[x] ^ ((medians[x] >> sign) & rest)
        r += 2 if pair else 1
