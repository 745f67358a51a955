"""Compiled order statistics over large windows: histograms that move with the window.

- `column_histograms`: 8-bit cells, windows that are rectangles. The method of Perreault and Hébert (2007,
  doi:10.1109/TIP.2007.902329): each column of cells under the window keeps a histogram, which changes by one cell in
  and one out when the window moves down a row; the window's own changes by one column in and one out. Of two levels of
  bins the 16 coarse ones are always up to date, and the 16 fine ones of that which holds the answer when looked at.
- `sliding_histogram`: any footprint, any number of bins. The window runs forth and back over the rows; each move costs
  the footprint's edge. The answer is tracked from cell to cell, so that the search is short.

Both give exact order statistics of small unsigned codes: what a tile's border is does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["column_histograms", "sliding_histogram"]

Array = Any
STRIPE = 1024  # columns at a time: their histograms (544 bytes each) stay in L2


@compiled
def _change(fine: Array, coarse: Array, cells: Array, start: int, change: int) -> None:
    """Add `change` for one cell to the histogram of each column. Local."""
    row = cells[start : start + fine.shape[0]]
    for x in range(row.size):
        value = np.int64(row[x])
        fine[x, value] += change
        coarse[x, value >> 4] += change


@compiled
def _bin_of(bins: Array, rank: int) -> tuple[int, int]:
    """Return the bin (of 16) that holds the cell of given rank, and how many cells are in the bins below. Local."""
    # Without a branch: where the answer lies is anybody's guess, a branch predictor's too.
    number: Any = 0
    below: Any = 0
    seen: Any = 0
    for b in range(15):
        seen += np.int64(bins[b])
        number += seen <= rank
        below = seen if seen <= rank else below
    return number, below


@compiled
def _rank_in_row(fine: Array, coarse: Array, size: int, rank: int, window: Array, out: Array) -> None:
    """Write the cells of given rank for the windows of `size` columns that begin at column 0, 1, 2, … Local."""
    total, latest = window[256:272], np.full(16, -1, np.int64)
    total[:] = 0
    for column in range(size):
        for b in range(16):
            total[b] += coarse[column, b]
    for x in range(out.size):
        if x:
            entering, leaving = coarse[x + size - 1], coarse[x - 1]
            for b in range(16):
                total[b] += entering[b] - leaving[b]
        group, below = _bin_of(total, rank)
        low = 16 * group
        part = window[low : low + 16]
        done = latest[group]
        if done < 0 or 2 * (x - done) >= size:
            part[:] = 0
            for column in range(x, x + size):
                entering = fine[column, low : low + 16]
                for b in range(16):
                    part[b] += entering[b]
        else:
            for column in range(done, x):
                entering, leaving = fine[column + size, low : low + 16], fine[column, low : low + 16]
                for b in range(16):
                    part[b] += entering[b] - leaving[b]
        latest[group] = x
        out[x] = low + _bin_of(part, rank - below)[0]


@compiled
def column_histograms(
    cells: Array, start: int, stride: int, size: tuple[int, int], rank: int, window: Array, out: Array
) -> None:
    """Write the cells of given `rank` in windows of `size` (rows, columns) of a plane. Local.

    The window of ``out[y, x]`` begins at ``cells[start + y * stride + x]``. `window` is scratch: 272 unsigned
    integers, each able to hold the number of cells in a window.
    """
    rows, length = out.shape
    high, wide = size
    for begin in range(0, length, STRIPE):
        end = min(length, begin + STRIPE)
        corner = start + begin
        fine = np.zeros((end - begin + wide - 1, 256), np.uint16)
        coarse = np.zeros((fine.shape[0], 16), np.uint16)
        for row in range(high - 1):
            _change(fine, coarse, cells, corner + row * stride, 1)
        for y in range(rows):
            if y:
                _change(fine, coarse, cells, corner + (y - 1) * stride, -1)
            _change(fine, coarse, cells, corner + (y + high - 1) * stride, 1)
            _rank_in_row(fine, coarse, wide, rank, window, out[y, begin:end])


@compiled
def _move(
    codes: Array, came: int, arriving: Array, left: int, leaving: Array, fine: Array, coarse: Array, shift: int, at: int
) -> Any:
    """Take cells into and out of the histogram; return by how much the number of codes below `at` changed. Local."""
    below: Any = 0
    for offset in arriving:
        code = np.int64(codes[came + offset])
        fine[code] += 1
        coarse[code >> shift] += 1
        below += code < at
    for offset in leaving:
        code = np.int64(codes[left + offset])
        fine[code] -= 1
        coarse[code >> shift] -= 1
        below -= code < at
    return below


@compiled
def _find(fine: Array, coarse: Array, shift: int, rank: int, at: Any, below: Any) -> tuple[int, int]:
    """Return the code of given rank and how many are below it, starting from code `at` with `below`. Local."""
    step, mask = 1 << shift, (1 << shift) - 1
    while below > rank:
        if at & mask == 0:
            group = (at >> shift) - 1
            while below - coarse[group] > rank:
                below -= np.int64(coarse[group])
                at -= step
                group -= 1
        at -= 1
        below -= np.int64(fine[at])
    while below + fine[at] <= rank:
        below += np.int64(fine[at])
        at += 1
        if at & mask == 0:
            group = at >> shift
            while below + coarse[group] <= rank:
                below += np.int64(coarse[group])
                at += step
                group += 1
    return at, below


@compiled
def sliding_histogram(
    codes: Array,
    planes: Array,
    stride: int,
    inside: Array,
    edges: tuple[Array, Array, Array, Array],
    rank: int,
    bins: int,
    out: Array,
) -> None:
    """Write the codes (less than `bins`) of given `rank` in windows of any footprint. Local.

    The window of ``out[p, y, x]`` is ``codes[planes[p] + y * stride + x + offset]`` for the offsets `inside`.
    `edges` are those of its offsets that have no neighbor in the footprint to the left, to the right, above and
    below: what the window loses or gains when it moves.
    """
    leftmost, rightmost, topmost, lowest = edges
    shift = 6
    fine = np.zeros(bins + 1, np.int32)
    coarse = np.zeros((bins >> shift) + 2, np.int32)
    nothing = inside[:0]
    rows, length = out.shape[1:]
    for p in range(planes.size):
        position, at = planes[p], 0
        below = _move(codes, position, inside, position, nothing, fine, coarse, shift, at)
        for y in range(rows):
            forth = y % 2 == 0
            if y:
                below += _move(codes, position + stride, lowest, position, topmost, fine, coarse, shift, at)
                position += stride
            x = 0 if forth else length - 1
            for i in range(length):
                if i and forth:
                    below += _move(codes, position + 1, rightmost, position, leftmost, fine, coarse, shift, at)
                    position += 1
                    x += 1
                elif i:
                    below += _move(codes, position - 1, leftmost, position, rightmost, fine, coarse, shift, at)
                    position -= 1
                    x -= 1
                at, below = _find(fine, coarse, shift, rank, at, below)
                out[p, y, x] = at
        _move(codes, position, nothing, position, inside, fine, coarse, shift, 0)
