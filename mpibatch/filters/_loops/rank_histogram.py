"""Compiled order statistics over large windows: histograms that move with the window.

- `column_histograms`: 8-bit cells, box-shaped windows. The method of Perreault and Hébert (2007,
  doi:10.1109/TIP.2007.902329): each column of cells under the window keeps a histogram, which changes by one
  cell in and one out when the window moves down a row; the window's own histogram changes by one column in and
  one out. Two levels of bins: 16 coarse ones, always up to date, and the 16 fine ones of the coarse bin that
  holds the answer, brought up to date only when looked at. With more axes a column stands over the cross
  section of all axes but the last, and changes by a line (3-D) or a plane (4-D) of cells.
- `sliding_histogram`: any footprint, any number of bins. The window runs forth and back over the rows; each move
  costs the footprint's edge. The answer is tracked from cell to cell, so that the search is short.

Both give exact order statistics of small unsigned codes: what a tile's border is does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["column_histograms", "sliding_histogram", "volume_histograms"]

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
def _shift_columns(bins: Array, entering: Array, leaving: Array) -> None:
    """Add the histograms `entering`, subtract `leaving`. Local."""
    # Flat, so that the bins of all columns are one vector loop.
    kept, new, old = bins.reshape(-1), entering.reshape(-1), leaving.reshape(-1)
    for i in range(kept.size):
        kept[i] += np.uint16(new[i]) - np.uint16(old[i])


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
def volume_histograms(
    cells: Array,
    planes: Array,
    lines: Array,
    moves: tuple[Array, Array],
    stride: int,
    size: tuple[int, int],
    rank: int,
    window: Array,
    stripe: int,
    counts: Array,
    out: Array,
) -> None:
    """Write the cells of given `rank` in box-shaped windows, plane after plane. Local.

    The window of ``out[p, y, x]`` is made of planes: the cells ``cells[planes[p] + line + (y + j) * stride + x + i]``
    for j, i below `size` and every offset of `lines`. `moves` are the offsets that a plane has and its predecessor
    does not, and those that only the predecessor has, each relative to its own plane. Every (row, column) keeps a
    histogram of its line through the planes, and columns of lines make columns of cells; `stripe` columns at a
    time. `counts` is an array whose type can hold the number of cells of a line.
    """
    length = out.shape[2]
    high, wide = size
    arriving, leaving = moves
    for begin in range(0, length, stripe):
        end = min(length, begin + stripe)
        columns = end - begin + wide - 1
        thin_fine = np.zeros((out.shape[1] + high - 1, columns, 256), counts.dtype)
        thin_coarse = np.zeros((thin_fine.shape[0], columns, 16), counts.dtype)
        for p in range(planes.size):
            for row in range(out.shape[1] + high - 1):
                start = begin + row * stride
                if p == 0:
                    for line in lines:
                        _change(thin_fine[row], thin_coarse[row], cells, planes[0] + start + line, 1)
                    continue
                for line in leaving:
                    _change(thin_fine[row], thin_coarse[row], cells, planes[p - 1] + start + line, -1)
                for line in arriving:
                    _change(thin_fine[row], thin_coarse[row], cells, planes[p] + start + line, 1)
            _rank_in_plane(thin_fine, thin_coarse, size, rank, window, out[p, :, begin:end])


@compiled
def _rank_in_plane(
    thin_fine: Array, thin_coarse: Array, size: tuple[int, int], rank: int, window: Array, out: Array
) -> None:
    """Write the cells of given rank in windows over the histograms of lines, (rows, columns, bins). Local."""
    high, wide = size
    fine = np.zeros(thin_fine.shape[1:], np.uint16)
    coarse = np.zeros(thin_coarse.shape[1:], np.uint16)
    for row in range(high):
        fine += thin_fine[row]
        coarse += thin_coarse[row]
    for y in range(out.shape[0]):
        if y:
            _shift_columns(fine, thin_fine[y + high - 1], thin_fine[y - 1])
            _shift_columns(coarse, thin_coarse[y + high - 1], thin_coarse[y - 1])
        _rank_in_row(fine, coarse, wide, rank, window, out[y])


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
