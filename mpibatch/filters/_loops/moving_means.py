"""Compiled moving mean whose cost does not depend on the window and whose result not on the block.

Windows of a few cells are summed from their first cell to their last. For longer ones, segments of `size` cells begin
at global multiples of `size`. A window is the end of one segment and the beginning of the next (van Herk's scheme for
sums): its two sums have the same terms in the same order wherever a block begins, and nothing is ever subtracted, so
that no rounding error travels along the line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.filters._loops.strips import F8, Strip, aligned, load_line, store_rows

__all__ = ["uniform_lines"]

Unsigned = Any  # np.uint64: an index that might be negative costs a test

SHORT = 12  # cells of windows that are summed one by one: longer ones take more additions than segments do


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
    while begin < rows:
        if width == 1:
            _sums_of_line(suffix, prefix, cells, np.uint64(begin), np.uint64(end))
        else:
            _sums_of_lanes(suffix, prefix, cells, begin, end, width)
        begin, end = end, min(rows, end + size)


@compiled
def _means(acc: F8, suffix: F8, prefix: F8, rows: int, width: int, size: int, phase: int) -> None:
    """Write the means of the windows that begin in each of `rows` rows: the end of a segment, the start of the next."""
    ahead = prefix[(size - 1) * width :]
    for p in range(rows * width):
        acc[p] = (suffix[p] + ahead[p]) / size
    # A window that is a segment has no second part.
    for row in range((size - phase) % size, rows, size):
        for p in range(row * width, (row + 1) * width):
            acc[p] = suffix[p] / size


@compiled
def _short_means(acc: F8, cells: F8, count: Unsigned, width: Unsigned, size: int) -> None:
    """Write the means of the windows of a few rows that begin at each of `count` cells."""
    if size == 3:
        last = width + width
        for p in range(count):
            acc[p] = (cells[p] + cells[p + width] + cells[p + last]) / size
        return
    for p in range(count):
        acc[p] = cells[p]
    at = width
    for _ in range(size - 1):
        for p in range(count):
            acc[p] += cells[p + at]
        at += width
    for p in range(count):
        acc[p] = acc[p] / size


@compiled
def uniform_lines(line: Any, out: Strip, outers: int, lanes: int, size: int, phase: int) -> None:
    """Take the mean of windows of `size` cells along the lines of one block; `out` may be the block itself.

    phase: where in its segment the first cell of `lo` lies. Rows are taken in tiles that are at least as long as a
    window, so that no more than twice the cells are summed.
    """
    n, reach = out.rows, size - 1
    span = 128 if size < 4096 else 16
    chunks = (lanes + span - 1) // span
    for chunk in range(chunks):
        begin = chunk * lanes // chunks
        width = (chunk + 1) * lanes // chunks - begin
        rows = min(n, max(size, 2048 // width))
        count = (rows + reach) * width
        cells, acc = aligned(count), aligned(count)
        segments = 0 if size <= SHORT else count
        suffix, prefix = aligned(segments), aligned(segments)
        for outer in range(outers):
            loaded: Any = np.int64(0)  # not the literal, for which `load_line` would be compiled, too
            for first in range(0, n, rows):
                now = min(rows, n - first)
                until, place = first + now + reach, (phase + first) % size
                load_line(cells, (loaded - first) * width, loaded, until, line, outer, begin, width)
                loaded = until
                if size <= SHORT:
                    _short_means(acc, cells, np.uint64(now * width), np.uint64(width), size)
                else:
                    _segment_sums(suffix, prefix, cells, now + reach, width, size, place)
                    _means(acc, suffix, prefix, now, width, size, place)
                store_rows(acc, out, outer, begin, first, now, width)
                for p in range(reach * width):
                    cells[p] = cells[p + now * width]
