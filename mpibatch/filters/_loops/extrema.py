"""Compiled loops of minima and maxima over windows.

Three shapes of work, all over cells that lie next to each other in memory, so that each becomes vector code:

- `slide_rows`: a window along an axis that is not the fastest one, by van Herk's and Gil & Werman's method: three
  comparisons a cell, whatever the window. Suffix results of a segment of rows are kept, prefix results run on.
- `slide_cells`: a window along the fastest axis. Window lengths are doubled (1, 2, 4, …) and the last two halves
  overlap: log2(size) vector operations a cell beat three scalar ones by far.
- `fold_offsets`, `fold_heights`: any footprint, one cell after another, without and with heights to add.

Results are exact, so cutting a line anywhere changes nothing. Only 0.0 and -0.0 are equal and yet differ: as in
scipy, the windows along an axis keep the last of equal cells, and a footprint keeps its first. "Keep the last of
equals" is associative and may count a cell twice, hence the two methods above keep scipy's bits there too.

NaN compares as nothing, so that what a comparison alone makes of it depends on where a method cuts its segments, and
with them on the block. Windows along an axis therefore say NaN wherever they hold one: "keep the first NaN" is
associative and may count twice, too. A footprint's order is its own everywhere, and its comparisons stay scipy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["fold_heights", "fold_offsets", "slide_cells", "slide_rows"]

Array = Any
LANE_BYTES = 8192  # cells that are worked on at once: large enough to hide the call, small enough to stay in L1
SEGMENT_BYTES = 1 << 18  # the suffix results of a segment should stay in L2


@compiled
def _combine(left: Array, right: Array, out: Array, largest: bool) -> None:
    """Write the smaller (or larger) of two rows; of equal cells that of `right`, NaN before all. Local."""
    if largest:
        for x in range(out.size):
            out[x] = left[x] if (left[x] > right[x]) | (left[x] != left[x]) else right[x]
    else:
        for x in range(out.size):
            out[x] = left[x] if (left[x] < right[x]) | (left[x] != left[x]) else right[x]


@compiled
def _run_on(kept: Array, new: Array, largest: bool) -> None:
    """Fold the row `new` into `kept`; of equal cells keep the new one, of NaN the first. Local."""
    # Not _combine(kept, new, kept): arrays that overlap send the vectorizer to its scalar loop.
    if largest:
        for x in range(kept.size):
            kept[x] = kept[x] if (kept[x] > new[x]) | (kept[x] != kept[x]) else new[x]
    else:
        for x in range(kept.size):
            kept[x] = kept[x] if (kept[x] < new[x]) | (kept[x] != kept[x]) else new[x]


@compiled
def _hold_first(kept: Array, new: Array, largest: bool) -> None:
    """Fold the row `new` into `kept`; of equal cells keep the one that came first. Local."""
    if largest:
        for x in range(kept.size):
            kept[x] = new[x] if new[x] > kept[x] else kept[x]
    else:
        for x in range(kept.size):
            kept[x] = new[x] if new[x] < kept[x] else kept[x]


@compiled
def _copy(cells: Array, target: Array) -> None:
    """Copy as many cells as there is room for. Local."""
    for x in range(target.size):
        target[x] = cells[x]


@compiled
def _row(
    low: Array, block: Array, outer: int, inner: int, rows: int, high: Array, plane: int, row: int, begin: int, end: int
) -> Array:
    """Return cells [begin, end) of a row of the line of slabs low + block + high. Local."""
    if row < low.shape[1]:
        return low[plane, row, begin:end]
    row -= low.shape[1]
    if row < rows:
        at = plane * outer + row * inner
        return block[at + begin : at + end]
    return high[plane, row - rows, begin:end]


@compiled
def slide_rows(
    low: Array,
    block: Array,
    outer: int,
    inner: int,
    high: Array,
    out: Array,
    start: int,
    stop: int,
    size: int,
    largest: bool,
) -> None:
    """Write the extrema of windows of `size` rows; arrays are (planes, rows, cells), of which it takes some. Local.

    Row r of `out` is the window of rows r … r + size - 1 of low + block + high. Of `block`, which may lie amid a halo,
    it is given the memory, as one line, in which planes are `outer` cells apart, and rows `inner`.
    """
    planes, rows, _ = out.shape
    item = out.itemsize
    width = max(64, min(LANE_BYTES // item, SEGMENT_BYTES // (size * item)))
    suffix = np.empty((size, min(width, stop - start)), out.dtype)
    prefix = np.empty(min(width, stop - start), out.dtype)
    for plane in range(planes):
        for begin in range(start, stop, width):
            end = min(stop, begin + width)
            count = end - begin
            for first in range(0, rows, size):
                last = first + size - 1
                _copy(_row(low, block, outer, inner, rows, high, plane, last, begin, end), suffix[size - 1, :count])
                for i in range(size - 2, -1, -1):
                    above = _row(low, block, outer, inner, rows, high, plane, first + i, begin, end)
                    _combine(above, suffix[i + 1, :count], suffix[i, :count], largest)
                _copy(suffix[0, :count], out[plane, first, begin:end])
                for i in range(1, min(size, rows - first)):
                    below = _row(low, block, outer, inner, rows, high, plane, last + i, begin, end)
                    if i == 1:
                        _copy(below, prefix[:count])
                    else:
                        _run_on(prefix[:count], below, largest)
                    _combine(suffix[i, :count], prefix[:count], out[plane, first + i, begin:end], largest)


@compiled
def slide_cells(
    low: Array, block: Array, outer: int, high: Array, out: Array, size: int, step: int, largest: bool
) -> None:
    """Write the extrema of windows of `size` cells that lie `step` apart; arrays are (lines, cells). Local.

    `step` is the number of components, which share the line. Of `block` it is given the memory, in which lines are
    `outer` cells apart; `out` may be the same: lines are copied first.
    """
    lines, length = out.shape
    before, after = low.shape[1], high.shape[1]
    total = before + length + after
    current = np.empty(total, out.dtype)
    spare = np.empty(total, out.dtype)
    for line in range(lines):
        _copy(low[line], current[:before])
        _copy(block[line * outer : line * outer + length], current[before : before + length])
        _copy(high[line], current[before + length : total])
        span, valid = 1, total
        while 2 * span < size:
            valid -= span * step
            _combine(current[:valid], current[span * step : span * step + valid], spare[:valid], largest)
            current, spare = spare, current
            span *= 2
        shift = (size - span) * step
        _combine(current[:length], current[shift : shift + length], out[line], largest)


@compiled
def fold_offsets(
    cells: Array, bases: Array, offsets: Array, out: Array, targets: Array, length: int, largest: bool
) -> None:
    """Write the extremum of ``cells[bases[r] + offset + x]`` over all offsets to ``out[targets[r] + x]``. Local."""
    width = LANE_BYTES // out.itemsize
    kept = np.empty(min(width, length), out.dtype)
    for row in range(bases.size):
        for begin in range(0, length, width):
            count = min(width, length - begin)
            start, target = bases[row] + begin, targets[row] + begin
            _copy(cells[start + offsets[0] : start + offsets[0] + count], kept[:count])
            for offset in offsets[1:]:
                _hold_first(kept[:count], cells[start + offset : start + offset + count], largest)
            _copy(kept[:count], out[target : target + count])


@compiled
def fold_heights(
    cells: Array,
    bases: Array,
    offsets: Array,
    first: float,
    heights: Array,
    out: Array,
    targets: Array,
    length: int,
    largest: bool,
) -> None:
    """Write the extrema of cells plus heights to f64 `out`, by scipy's arithmetic. Local.

    scipy adds the first height in f64 and all others in the array's type (integers wrap around), and compares in
    f64: `first` is that height, `heights` are all in the type of `cells`.
    """
    kind = cells.dtype.type
    for row in range(bases.size):
        kept = out[targets[row] : targets[row] + length]
        start = bases[row] + offsets[0]
        new = cells[start : start + length]
        for x in range(length):
            kept[x] = np.float64(new[x]) + first
        for i in range(1, offsets.size):
            start = bases[row] + offsets[i]
            new = cells[start : start + length]
            height = heights[i]
            if largest:
                for x in range(length):
                    value = np.float64(kind(new[x] + height))
                    kept[x] = value if value > kept[x] else kept[x]
            else:
                for x in range(length):
                    value = np.float64(kind(new[x] + height))
                    kept[x] = value if value < kept[x] else kept[x]
