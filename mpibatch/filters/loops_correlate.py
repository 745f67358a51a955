"""Compiled N-dimensional correlation, cell for cell the arithmetic of scipy.ndimage.correlate."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.compiled import compiled
from mpibatch.filters.loops_strips import F8, cast

__all__ = ["correlate_rows"]


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
def correlate_rows(padded: Any, starts: Any, length: int, offsets: Any, weights: F8, out: Any) -> None:
    """Correlate rows of `length` adjacent cells with N-dimensional weights, in scipy's order of additions.

    padded: flat array of cells and halo. starts: where the first cell that a row reads lies. offsets: the places of
    the weights after that one (unsigned). out: flat array of the results, row after row.
    """
    one, four = np.uint64(1), np.uint64(4)
    taps = np.uint64(weights.size)
    acc = np.empty(min(length, 1024), np.float64)
    for row in range(starts.size):
        for begin in range(0, length, 1024):
            cells = min(1024, length - begin)
            source = padded[starts[row] + begin :]
            for p in range(cells):
                acc[p] = 0.0
            tap = np.uint64(0)
            while tap + four <= taps:
                _taps_4(acc, source, np.uint64(cells), offsets[tap : tap + four], weights[tap : tap + four])
                tap += four
            while tap < taps:
                _taps_1(acc, source, np.uint64(cells), offsets[tap], weights[tap])
                tap += one
            target = out[row * length + begin : row * length + begin + cells]
            for p in range(cells):
                target[p] = cast(acc[p], out)
