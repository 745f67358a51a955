"""Compiled order statistics over small windows: networks of comparators on rows of cells.

A comparator takes two rows and leaves the smaller cells in one and the larger in the other, for as many cells at
once as the processor's vectors hold. There are no branches, and the cost does not depend on the values.

Floats are compared by the integers that order them (`key`): -0.0 comes before 0.0, NaN after infinity (before
-infinity if its sign is set). Results are then the same cell by cell whatever algorithm or block computes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, compiled_lean, told_apart

__all__ = ["median_of_nine", "median_of_twenty_five", "select"]

Array = Any
BUFFER_BYTES = 65536  # what the rows of a window may take: L1 and a part of L2


@told_apart
@compiled_lean
def _keys(bits: Array, out: Array, sign: int, rest: int, length: int) -> None:
    """Write integers in the order of the floats whose bits are given, or the other way round. Local."""
    if sign:
        for x in range(length):
            out[x] = bits[x] ^ ((bits[x] >> sign) & rest)
    else:
        for x in range(length):
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
                _keys(cells[first:], rows[i, lane:], sign, rest, part)
            at += part
        _run(rows, network)
        at = begin
        while at < end:
            r, x = at // length, at % length
            part = min(length - x, end - at)
            lane = at - begin
            first = targets[r] + x
            _keys(rows[answer, lane:], out[first:], sign, rest, part)
            at += part


@told_apart
@compiled_lean
def _sort_columns(top: Array, mid: Array, low: Array, rows: Array, length: int) -> None:
    """Sort three rows of cells column by column into `rows`. Local."""
    for x in range(np.uint64(length)):
        a, b, c = top[x], mid[x], low[x]
        s, t = min(a, b), max(a, b)
        u = min(t, c)
        rows[0, x], rows[1, x], rows[2, x] = min(s, u), max(s, u), max(t, c)


@told_apart
@compiled_lean
def _sort_two_columns(top: Array, mid: Array, low: Array, end: Array, upper: Array, lower: Array, length: int) -> None:
    """Sort the first three and the last three of four rows of cells; the two they share are compared once. Local."""
    for x in range(np.uint64(length)):
        a, b, c, d = top[x], mid[x], low[x], end[x]
        s, t = min(b, c), max(b, c)
        u, w = max(a, s), max(d, s)
        upper[0, x], upper[1, x], upper[2, x] = min(a, s), min(u, t), max(u, t)
        lower[0, x], lower[1, x], lower[2, x] = min(d, s), min(w, t), max(w, t)


@told_apart
@compiled_lean
def _median_of_columns(rows: Array, step: int, out: Array, length: int) -> None:
    """Write medians of three sorted columns each: of the largest least, median middle, and least most cell. Local."""
    for x in range(np.uint64(length)):
        y, z = x + np.uint64(step), x + np.uint64(2 * step)
        low = max(rows[0, x], rows[0, y], rows[0, z])
        high = min(rows[2, x], rows[2, y], rows[2, z])
        a, b = rows[1, x], rows[1, y]
        mid = max(min(a, b), min(max(a, b), rows[1, z]))
        out[x] = max(min(low, mid), min(max(low, mid), high))


@compiled_lean
def _unordered(cells: Array, sign: int, rest: int, length: int) -> None:
    """Turn keys back into the bits of floats. Local."""
    if sign:
        for x in range(length):
            cells[x] = cells[x] ^ ((cells[x] >> sign) & rest)


@compiled_lean
def median_of_nine(
    cells: Array,
    bases: Array,
    lines: Array,
    step: int,
    sign: int,
    rest: int,
    scratch: tuple[Array, Array, Array],
    out: Array,
    targets: Array,
    length: int,
) -> None:
    """Write the medians of 3 × 3 cells: at each of the three offsets `lines`, three cells `step` apart. Local.

    Columns of three are sorted once for the three windows that they are part of, and two rows of windows at a time
    where the second lies just below the first. `scratch`: three, three and five rows, which should stay in L1.
    """
    rows, below, keys = scratch
    width = rows.shape[1] - 2 * step
    down = lines[1] - lines[0]
    r = 0
    while r < bases.size:
        pair = lines[2] - lines[1] == down and r + 1 < bases.size and bases[r + 1] - bases[r] == down
        for begin in range(0, length, width):
            count = min(width, length - begin)
            around = count + 2 * step
            corner = bases[r] + begin
            a, b, c = cells[corner + lines[0] :], cells[corner + lines[1] :], cells[corner + lines[2] :]
            d = cells[corner + lines[2] + down :] if pair else c
            if sign:
                _keys(a, keys[0], sign, rest, around)
                _keys(b, keys[1], sign, rest, around)
                _keys(c, keys[2], sign, rest, around)
                _keys(d, keys[3], sign, rest, around)
                a, b, c, d = keys[0], keys[1], keys[2], keys[3]
            if pair:
                _sort_two_columns(a, b, c, d, rows, below, around)
                medians = out[targets[r + 1] + begin :]
                _median_of_columns(below, step, medians, count)
                _unordered(medians, sign, rest, count)
            else:
                _sort_columns(a, b, c, rows, around)
            medians = out[targets[r] + begin :]
            _median_of_columns(rows, step, medians, count)
            _unordered(medians, sign, rest, count)
        r += 2 if pair else 1


@compiled_lean
def _five(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Return five values in ascending order."""
    a, b = min(a, b), max(a, b)
    d, e = min(d, e), max(d, e)
    c, e = min(c, e), max(c, e)
    c, d = min(c, d), max(c, d)
    a, d = min(a, d), max(a, d)
    a, c = min(a, c), max(a, c)
    b, e = min(b, e), max(b, e)
    b, d = min(b, d), max(b, d)
    return a, min(b, c), max(b, c), d, e


@told_apart
@compiled_lean
def _sort_fives(a: Array, b: Array, c: Array, d: Array, e: Array, columns: Array, length: int) -> None:
    """Sort five rows of cells column by column. Local."""
    for x in range(np.uint64(length)):
        columns[0, x], columns[1, x], columns[2, x], columns[3, x], columns[4, x] = _five(a[x], b[x], c[x], d[x], e[x])


@told_apart
@compiled_lean
def _merge_fives(columns: Array, step: int, pairs: Array, length: int) -> None:
    """Merge each sorted column of five with the one `step` after it: Batcher's odd-even merge. Local."""
    for x in range(np.uint64(length)):
        y = x + np.uint64(step)
        a, b, c, d, e = columns[0, x], columns[1, x], columns[2, x], columns[3, x], columns[4, x]
        v, w, p, q, r = columns[0, y], columns[1, y], columns[2, y], columns[3, y], columns[4, y]
        # The first, third and fifth of both,
        a, v = min(a, v), max(a, v)
        e, r = min(e, r), max(e, r)
        v, e = min(v, e), max(v, e)
        c, p = min(c, p), max(c, p)
        v, c = min(v, c), max(v, c)
        e, p = min(e, p), max(e, p)
        # the second and fourth, and all.
        b, w = min(b, w), max(b, w)
        d, q = min(d, q), max(d, q)
        w, d = min(w, d), max(w, d)
        pairs[0, x], pairs[1, x], pairs[2, x] = a, min(b, v), max(b, v)
        pairs[3, x], pairs[4, x] = min(w, c), max(w, c)
        pairs[5, x], pairs[6, x] = min(d, e), max(d, e)
        pairs[7, x], pairs[8, x], pairs[9, x] = min(q, p), max(q, p), r


@told_apart
@compiled_lean
def _median_of_fives(pairs: Array, columns: Array, step: int, out: Array, length: int) -> None:
    """Write medians of two sorted pairs of columns, and a fifth column. Local."""
    for x in range(np.uint64(length)):
        y, z = x + np.uint64(2 * step), x + np.uint64(4 * step)
        p0, p1, p2, p3, p4 = pairs[0, x], pairs[1, x], pairs[2, x], pairs[3, x], pairs[4, x]
        p5, p6, p7, p8, p9 = pairs[5, x], pairs[6, x], pairs[7, x], pairs[8, x], pairs[9, x]
        q0, q1, q2, q3, q4 = pairs[0, y], pairs[1, y], pairs[2, y], pairs[3, y], pairs[4, y]
        q5, q6, q7, q8, q9 = pairs[5, y], pairs[6, y], pairs[7, y], pairs[8, y], pairs[9, y]
        # Of the twenty, the ten smaller and the ten larger are bitonic: so are their upper, and lower, five.
        _, _, a, b, c = _five(
            max(min(p0, q9), min(p5, q4)),
            max(min(p1, q8), min(p6, q3)),
            max(min(p2, q7), min(p7, q2)),
            max(min(p3, q6), min(p8, q1)),
            max(min(p4, q5), min(p9, q0)),
        )
        d, e, f, _, _ = _five(
            min(max(p0, q9), max(p5, q4)),
            min(max(p1, q8), max(p6, q3)),
            min(max(p2, q7), max(p7, q2)),
            min(max(p3, q6), max(p8, q1)),
            min(max(p4, q5), max(p9, q0)),
        )
        low = min(max(a, columns[4, z]), max(b, columns[3, z]), max(c, columns[2, z]))
        out[x] = min(low, max(d, columns[1, z]), max(e, columns[0, z]), f)


@compiled_lean
def median_of_twenty_five(
    cells: Array,
    bases: Array,
    lines: Array,
    step: int,
    sign: int,
    rest: int,
    scratch: tuple[Array, Array, Array],
    out: Array,
    targets: Array,
    length: int,
) -> None:
    """Write the medians of 5 × 5 cells: at each of the five offsets `lines`, five cells `step` apart. Local.

    Columns are sorted once for the five windows that they are part of, and merged with a neighbor for two. `scratch`:
    five, ten and five rows, which should stay in L1.
    """
    columns, pairs, keys = scratch
    width = columns.shape[1] - 4 * step
    for r in range(bases.size):
        for begin in range(0, length, width):
            count = min(width, length - begin)
            around = count + 4 * step
            corner = bases[r] + begin
            a, b, c = cells[corner + lines[0] :], cells[corner + lines[1] :], cells[corner + lines[2] :]
            d, e = cells[corner + lines[3] :], cells[corner + lines[4] :]
            if sign:
                for i in range(5):
                    _keys(cells[corner + lines[i] :], keys[i], sign, rest, around)
                a, b, c, d, e = keys[0], keys[1], keys[2], keys[3], keys[4]
            _sort_fives(a, b, c, d, e, columns, around)
            _merge_fives(columns, step, pairs, count + 2 * step)
            medians = out[targets[r] + begin :]
            _median_of_fives(pairs, columns, step, medians, count)
            _unordered(medians, sign, rest, count)
