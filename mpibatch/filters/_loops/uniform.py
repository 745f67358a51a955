"""Compiled moving mean whose cost does not depend on the window and whose result not on the block.

Segments of `size` cells begin at global multiples of `size`. A window is the end of one segment and the beginning
of the next (van Herk's scheme for sums): its two sums have the same terms in the same order wherever a block begins,
and nothing is ever subtracted, so that no rounding error travels along the line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.filters._loops.strips import F8, ROOM, Strip, load_line, move_rows, store_rows

__all__ = ["uniform_lines"]

SHORT = 8  # segments of a line, up to so long, advance together; sums along a longer one are under way beside the next

Unsigned = Any  # np.uint64: an index that might be negative costs a test


@compiled
def _sums_of_short(suffix: F8, prefix: F8, cells: F8, first: Unsigned, rows: Unsigned, size: Unsigned) -> None:
    """Sum all segments of one line, the second of which begins at `first`, up to and from each of their cells.

    All segments advance by a cell before the next one: sums that wait for one another are far apart.
    """
    unit = np.uint64(1)
    for p in range(rows):
        prefix[p] = cells[p]
        suffix[p] = cells[p]
    # The first segment, and perhaps the last one, is cut off; what is summed of it from its cut end means nothing.
    for p in range(unit, first):
        prefix[p] += prefix[p - unit]
    for back in range(unit, first):
        p = first - unit - back
        suffix[p] += suffix[p + unit]
    for place in range(unit, size):
        for p in range(first + place, rows, size):
            prefix[p] += prefix[p - unit]
        for p in range(first + size - unit - place, rows - unit, size):
            suffix[p] += suffix[p + unit]


@compiled
def _sums_of_line(suffix: F8, prefix: F8, cells: F8, begin: Unsigned, end: Unsigned) -> None:
    """Sum one segment of one line, cells begin … end - 1, up to and from each of its cells."""
    total = cells[begin]
    prefix[begin] = total
    for row in range(begin + np.uint64(1), end):
        total += cells[row]
        prefix[row] = total
    last = end - np.uint64(1)
    total = cells[last]
    suffix[last] = total
    for back in range(np.uint64(1), end - begin):
        total += cells[last - back]
        suffix[last - back] = total


@compiled
def _sums_of_lanes(suffix: F8, prefix: F8, cells: F8, begin: int, end: int, width: int) -> None:
    """Sum one segment of `width` lines side by side, rows begin … end - 1."""
    for row in range(begin, end):
        source, target = cells[row * width : (row + 1) * width], prefix[row * width : (row + 1) * width]
        if row == begin:
            for p in range(width):
                target[p] = source[p]
        else:
            before = prefix[(row - 1) * width : row * width]
            for p in range(width):
                target[p] = before[p] + source[p]
    for row in range(end - 1, begin - 1, -1):
        source, target = cells[row * width : (row + 1) * width], suffix[row * width : (row + 1) * width]
        if row == end - 1:
            for p in range(width):
                target[p] = source[p]
        else:
            after = suffix[(row + 1) * width : (row + 2) * width]
            for p in range(width):
                target[p] = after[p] + source[p]


@compiled
def _segment_sums(suffix: F8, prefix: F8, cells: F8, rows: int, width: int, size: int, phase: int) -> None:
    """Sum the rows of each segment from its end (`suffix`) and from its beginning (`prefix`) up to every row.

    phase: the first row's place in its segment. Sums of segments that are cut off by an end of the rows mean nothing.
    """
    begin, end = 0, min(rows, size - phase)
    if width == 1 and size <= SHORT:
        _sums_of_short(suffix, prefix, cells, np.uint64(end), np.uint64(rows), np.uint64(size))
        return
    while begin < rows:
        if width == 1:
            _sums_of_line(suffix, prefix, cells, np.uint64(begin), np.uint64(end))
        else:
            _sums_of_lanes(suffix, prefix, cells, begin, end, width)
        begin, end = end, min(rows, end + size)


@compiled
def _means(suffix: F8, prefix: F8, whole: F8, rows: int, width: int, size: int, phase: int) -> None:
    """Turn `suffix` into the means of the windows that begin in each row: the end of a segment, the start of the next.

    whole: memory for the means of windows that are a segment, and so have no second part.
    """
    ahead = prefix[(size - 1) * width :]
    begin = (size - phase) % size
    at = 0
    for row in range(begin, rows, size):
        for p in range(row * width, (row + 1) * width):
            whole[at] = suffix[p] / size
            at += 1
    for p in range(rows * width):
        suffix[p] = (suffix[p] + ahead[p]) / size
    at = 0
    for row in range(begin, rows, size):
        for p in range(row * width, (row + 1) * width):
            suffix[p] = whole[at]
            at += 1


@compiled
def uniform_lines(line: Any, out: Strip, outers: int, lanes: int, size: int, phase: int) -> None:
    """Take the mean of windows of `size` cells along the lines of one block; `out` may be the block itself.

    phase: where in its segment the first cell of `lo` lies. Rows are taken in tiles that are at least as long as a
    window, so that no more than twice the cells are summed.
    """
    n, reach = out.rows, size - 1
    span = 128 if size < 4096 else 16
    chunks = (lanes + span - 1) // span
    widest = (lanes + chunks - 1) // chunks
    rows = min(n, max(size, 2048 // widest))
    room = (rows + reach) * widest
    beside = min(chunks, max(1, ROOM // room))
    bufs = np.empty(beside * room, np.float64)
    suffix, prefix, whole = np.empty(room, np.float64), np.empty(room, np.float64), np.empty(room, np.float64)
    for strip in range(0, chunks, beside):
        for outer in range(outers):
            loaded: Any = np.int64(0)  # not the literal, for which `load_line` would be compiled, too
            for first in range(0, n, rows):
                now = min(rows, n - first)
                until, place = first + now + reach, (phase + first) % size
                for chunk in range(strip, min(chunks, strip + beside)):
                    begin = chunk * lanes // chunks
                    width = (chunk + 1) * lanes // chunks - begin
                    cells = bufs[(chunk - strip) * room : (chunk - strip + 1) * room]
                    load_line(cells, (loaded - first) * width, loaded, until, line, outer, begin, width)
                    _segment_sums(suffix, prefix, cells, now + reach, width, size, place)
                    _means(suffix, prefix, whole, now, width, size, place)
                    store_rows(suffix, out, outer, begin, first, now, width)
                    move_rows(cells, reach * width, now * width)
                loaded = until
