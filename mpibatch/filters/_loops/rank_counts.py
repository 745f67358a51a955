"""Compiled order statistics over large boxes of 8-bit cells: by counting cells up to thresholds.

The answer of a window exceeds t where at most `rank` of its cells are t or less. How many are, is a sum of zeros and
ones over a box: doubled along rows, cumulated along columns and planes, so that the cost does not depend on the
window; and as nothing is looked up, many windows at once share each operation. Thresholds are bisected, for a tile at
a time: only those next to a value that is an answer somewhere in the tile are counted.

Cumulated counts may wrap: their differences, which do not, are right nevertheless.
"""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled_lean, told_apart

__all__ = ["ranks_by_counts"]

Array = Any


@told_apart
@compiled_lean
def _mark(cells: Array, most: Any, out: Array, length: int) -> None:
    """Write 1 for cells that are `most` or less, 0 for others. Local."""
    for x in range(length):
        out[x] = cells[x] <= most


@told_apart
@compiled_lean
def _copy(counts: Array, out: Array, length: int) -> None:
    for x in range(length):
        out[x] = counts[x]


@told_apart
@compiled_lean
def _add(counts: Array, out: Array, length: int) -> None:
    for x in range(length):
        out[x] += counts[x]


@told_apart
@compiled_lean
def _join(left: Array, right: Array, out: Array, length: int) -> None:
    for x in range(length):
        out[x] = left[x] + right[x]


@told_apart
@compiled_lean
def _cumulate(counts: Array, above: Array, column: Array, out: Array, length: int) -> None:
    """Add a row's counts to `column`, and write that, added to the plane above. Local."""
    kind = out.dtype.type
    for x in range(length):
        column[x] += counts[x]
        out[x] = kind(above[x] + column[x])


@told_apart
@compiled_lean
def _raise(corners: Any, limit: Any, value: Any, tally: Array, out: Array, length: int) -> None:
    """Write `value` to cells whose count is `limit` or less, and count them in `tally`. Local."""
    a, b, c, d = corners
    kind = a.dtype.type
    for x in range(length):
        is_above = kind(kind(a[x] - b[x]) - kind(c[x] - d[x])) <= limit
        new = value if is_above else out.dtype.type(0)
        out[x] = max(out[x], new)
        tally[x] += is_above


@compiled_lean
def _count_along(cells: Array, most: Any, size: int, rows: Array, length: int) -> None:
    """Write to the first of three `rows` how many of `size` cells, from each on, are `most` or less. Local."""
    total, current, spare = rows[0], rows[1], rows[2]
    valid, span, shift = length + size - 1, 1, 0
    _mark(cells, most, current, valid)
    while True:
        if size & span:
            if shift:
                _add(current[shift:], total, length)
            else:
                _copy(current, total, length)
            shift += span
        if 2 * span > size:
            return
        valid -= span
        _join(current, current[span:], spare, valid)
        current, spare = spare, current
        span *= 2


@compiled_lean
def _raise_above(
    threshold: int, cells: Array, at: Any, lines: Array, size: Any, rank: int, scratch: Any, out: Array, target: Any
) -> int:
    """Raise answers above `threshold` to the next value; return how many are above it. Local."""
    high, deep, wide = size
    rows, sums, column, tally = scratch
    start, plane_step, row_step = at
    first, out_plane, out_row, planes, height, length = target
    kind = sums.dtype.type
    most, value, limit = cells.dtype.type(threshold), out.dtype.type(threshold + 1), kind(rank)
    slots, zeros = sums.shape[0], sums[0, 0]
    above, noted = 0, 0
    for plane in range(planes + high - 1):
        upper, newest = sums[plane % slots], sums[(plane + 1) % slots]
        for x in range(length):
            column[x] = 0
        for row in range(height + deep - 1):
            corner = start + plane * plane_step + row * row_step
            for i in range(lines.size):
                if i:
                    _add(rows[0], column, length)
                _count_along(cells[corner + lines[i] :], most, wide, rows, length)
            is_first = high == 1 or plane == 0
            _cumulate(rows[0], zeros if is_first else upper[row + 1], column, newest[row + 1], length)
        p = plane + 1 - high
        if p < 0:
            continue
        lower = sums[p % slots]
        for row in range(height):
            is_first = high == 1 or p == 0
            low, lowest = (zeros, zeros) if is_first else (lower[row + deep], lower[row])
            place = first + p * out_plane + row * out_row
            _raise((newest[row + deep], newest[row], low, lowest), limit, value, tally, out[place:], length)
            noted += 1
            if noted == 255 or (p == planes - 1 and row == height - 1):
                for x in range(length):
                    above += tally[x]
                    tally[x] = 0
                noted = 0
    return above


@compiled_lean
def ranks_by_counts(
    cells: Array,
    at: tuple[int, int, int],
    lines: Array,
    size: tuple[int, int, int],
    rank: int,
    largest: int,
    scratch: tuple[Array, Array, Array, Array],
    pending: Array,
    out: Array,
    target: tuple[int, int, int, int, int, int],
) -> int:
    """Write the cells of given `rank` in box-shaped windows of a tile; return for how many thresholds it took. Local.

    Cells and `out` are flat; `at` is the first cell of the tile's first window, and the steps to the next plane and
    row; `target` are those of `out`, and the tile's planes, rows and cells in a row. The window is `size` planes, rows
    and cells, at each of the offsets `lines`. `largest` is the largest value of a cell. `scratch`: three rows for the
    counts along a window's row, zeros for those of size[0] + 1 planes of a row more than the tile's windows touch, of a
    row, and of as many bytes. `pending`: room for the intervals of thresholds that are not bisected yet.
    """
    first, plane_step, row_step, planes, height, length = target
    for plane in range(planes):
        for row in range(height):
            place = first + plane * plane_step + row * row_step
            for x in range(length):
                out[place + x] = 0
    pending[0, 0], pending[0, 1], pending[0, 2], pending[0, 3] = -1, planes * height * length, largest, 0
    count, counted = 1, 0
    while count:
        count -= 1
        low, above_low, high, above_high = pending[count]
        if above_low == above_high or high - low < 2:
            continue
        middle = (low + high) // 2
        above = _raise_above(middle, cells, at, lines, size, rank, scratch, out, target)
        pending[count, 2], pending[count, 3] = middle, above
        count += 1
        pending[count, 0], pending[count, 1], pending[count, 2], pending[count, 3] = middle, above, high, above_high
        count += 1
        counted += 1
    return counted
