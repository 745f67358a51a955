"""Compiled N-dimensional correlation, cell for cell the arithmetic of scipy.ndimage.correlate."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.filters._loops.strips import F8, cast

__all__ = ["correlate_rows", "magnitude_rows"]

CELLS = 1024  # of a row at a time: their sums stay in L1


@compiled
def _taps_1(acc: F8, source: Any, cells: Any, a: Any, w: float) -> None:
    for p in range(cells):
        acc[p] += np.float64(source[p + a]) * w


@compiled
def _taps_4(acc: F8, source: Any, cells: Any, offsets: Any, weights: F8) -> None:
    a, b, c, d = offsets[0], offsets[1], offsets[2], offsets[3]
    wa, wb, wc, wd = weights[0], weights[1], weights[2], weights[3]
    for p in range(cells):
        t = acc[p] + np.float64(source[p + a]) * wa
        t += np.float64(source[p + b]) * wb
        t += np.float64(source[p + c]) * wc
        acc[p] = t + np.float64(source[p + d]) * wd


@compiled
def _correlate(acc: F8, source: Any, cells: int, offsets: Any, weights: F8) -> None:
    """Put the sums of `cells` adjacent cells into `acc`, in scipy's order of additions."""
    unit, four = np.uint64(1), np.uint64(4)
    for p in range(cells):
        acc[p] = 0.0
    tap, taps = np.uint64(0), np.uint64(weights.size)
    while tap + four <= taps:
        _taps_4(acc, source, np.uint64(cells), offsets[tap : tap + four], weights[tap : tap + four])
        tap += four
    while tap < taps:
        _taps_1(acc, source, np.uint64(cells), offsets[tap], weights[tap])
        tap += unit


@compiled
def correlate_rows(cells: Any, bases: Any, offsets: Any, weights: F8, out: Any, targets: Any, length: int) -> None:
    """Correlate rows with N-dimensional weights, one at each offset (see `_sweep.Rows`)."""
    acc, places = np.empty(min(length, CELLS), np.float64), offsets.astype(np.uint64)
    for row in range(bases.size):
        for begin in range(0, length, CELLS):
            count = min(CELLS, length - begin)
            _correlate(acc, cells[bases[row] + begin :], count, places, weights)
            target = out[targets[row] + begin : targets[row] + begin + count]
            for p in range(count):
                target[p] = cast(acc[p], out)


@compiled
def magnitude_rows(
    cells: Any, bases: Any, offsets: Any, weights: F8, ends: Any, divisor: Any, out: Any, targets: Any, length: int
) -> None:
    """Write the root of the sum of squares of correlations of rows, over `divisor`; of one alone what it is.

    ends: where the offsets and weights of each correlation end.
    """
    acc, places = np.empty(min(length, CELLS), np.float64), offsets.astype(np.uint64)
    for row in range(bases.size):
        for begin in range(0, length, CELLS):
            count = min(CELLS, length - begin)
            source = cells[bases[row] + begin :]
            target = out[targets[row] + begin : targets[row] + begin + count]
            target[:] = 0
            first = 0
            for last in ends:
                _correlate(acc, source, count, places[first:last], weights[first:last])
                first = last
                if ends.size == 1:
                    for p in range(count):
                        target[p] += cast(acc[p], out)
                else:
                    for p in range(count):
                        part = cast(acc[p], out)
                        target[p] += part * part
            if ends.size > 1:
                for p in range(count):
                    target[p] = np.sqrt(target[p]) / divisor
