"""Compiled one-dimensional correlation, cell for cell the arithmetic of scipy.ndimage.correlate1d.

A tile of lines and its reach are converted to f64 in a small buffer (`strips`), so that the filter may write
over its input, and one flat loop serves every axis. The buffer's last rows, which the next tile needs too, move to
its front; no cell is read twice.

All indices are unsigned: a signed one that might be negative costs numba a wrap-around test and the vector loop.
Several taps are added per sweep to spare the accumulator's way to memory; a cell's additions keep scipy's order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.filters._loops.strips import F8, Strip, aligned, load_line, store_rows

__all__ = ["DIFFERENCE", "PLAIN", "SUM", "correlate_lines"]

Unsigned = Any  # np.uint64

SUM, DIFFERENCE, PLAIN = 1, -1, 0  # symmetric, antisymmetric, and all other weights


@compiled
def _center(acc: F8, buf: F8, cells: Unsigned, at: Unsigned, weight: float) -> None:
    for p in range(cells):
        acc[p] = buf[p + at] * weight


@compiled
def _plain_1(acc: F8, buf: F8, cells: Unsigned, width: Unsigned, low: Unsigned, weights: F8) -> None:
    a, w = low * width, weights[low]
    for p in range(cells):
        acc[p] += buf[p + a] * w


@compiled
def _plain_4(acc: F8, buf: F8, cells: Unsigned, width: Unsigned, low: Unsigned, weights: F8) -> None:
    a = low * width
    b, c, d = a + width, a + width + width, a + width + width + width
    unit = np.uint64(1)
    wa, wb, wc, wd = weights[low], weights[low + unit], weights[low + unit + unit], weights[low + unit + unit + unit]
    for p in range(cells):
        t = acc[p] + buf[p + a] * wa
        t += buf[p + b] * wb
        t += buf[p + c] * wc
        acc[p] = t + buf[p + d] * wd


@compiled
def _pair_1(
    acc: F8, buf: F8, cells: Unsigned, width: Unsigned, low: Unsigned, high: Unsigned, weights: F8, sign: int
) -> None:
    a, z, w = low * width, high * width, weights[low]
    if sign > 0:
        for p in range(cells):
            acc[p] += (buf[p + a] + buf[p + z]) * w
    else:
        for p in range(cells):
            acc[p] += (buf[p + a] - buf[p + z]) * w


@compiled
def _pair_4(
    acc: F8, buf: F8, cells: Unsigned, width: Unsigned, low: Unsigned, high: Unsigned, weights: F8, sign: int
) -> None:
    a, z = low * width, high * width
    b, c, d = a + width, a + width + width, a + width + width + width
    y, x, v = z - width, z - width - width, z - width - width - width
    unit = np.uint64(1)
    wa, wb, wc, wd = weights[low], weights[low + unit], weights[low + unit + unit], weights[low + unit + unit + unit]
    if sign > 0:
        for p in range(cells):
            t = acc[p] + (buf[p + a] + buf[p + z]) * wa
            t += (buf[p + b] + buf[p + y]) * wb
            t += (buf[p + c] + buf[p + x]) * wc
            acc[p] = t + (buf[p + d] + buf[p + v]) * wd
    else:
        for p in range(cells):
            t = acc[p] + (buf[p + a] - buf[p + z]) * wa
            t += (buf[p + b] - buf[p + y]) * wb
            t += (buf[p + c] - buf[p + x]) * wc
            acc[p] = t + (buf[p + d] - buf[p + v]) * wd


@compiled
def _first_4(acc: F8, buf: F8, cells: Unsigned, width: Unsigned, high: Unsigned, weights: F8, sign: int) -> None:
    a, z = np.uint64(0), high * width
    center = (high >> np.uint64(1)) * width
    b, c, d = a + width, a + width + width, a + width + width + width
    y, x, v = z - width, z - width - width, z - width - width - width
    unit = np.uint64(1)
    wa, wb, wc, wd = weights[0], weights[1], weights[2], weights[3]
    w = weights[high >> unit]
    if sign > 0:
        for p in range(cells):
            t = buf[p + center] * w + (buf[p + a] + buf[p + z]) * wa
            t += (buf[p + b] + buf[p + y]) * wb
            t += (buf[p + c] + buf[p + x]) * wc
            acc[p] = t + (buf[p + d] + buf[p + v]) * wd
    else:
        for p in range(cells):
            t = buf[p + center] * w + (buf[p + a] - buf[p + z]) * wa
            t += (buf[p + b] - buf[p + y]) * wb
            t += (buf[p + c] - buf[p + x]) * wc
            acc[p] = t + (buf[p + d] - buf[p + v]) * wd


@compiled
def _weigh(acc: F8, buf: F8, cells: Unsigned, width: Unsigned, weights: F8, kind: int) -> None:
    """Correlate a tile of `cells` cells: acc[p] from buf[p], buf[p + width], … in scipy's order of additions."""
    unit, four = np.uint64(1), np.uint64(4)
    size = np.uint64(weights.size)
    last = size - unit
    low = np.uint64(0)
    if kind == PLAIN:
        _center(acc, buf, cells, last * width, weights[last])
        while low + four <= last:
            _plain_4(acc, buf, cells, width, low, weights)
            low += four
        while low < last:
            _plain_1(acc, buf, cells, width, low, weights)
            low += unit
        return
    half = size >> unit
    if half >= four:
        _first_4(acc, buf, cells, width, last, weights, kind)
        low = four
    else:
        _center(acc, buf, cells, half * width, weights[half])
    while low + four <= half:
        _pair_4(acc, buf, cells, width, low, last - low, weights, kind)
        low += four
    while low < half:
        _pair_1(acc, buf, cells, width, low, last - low, weights, kind)
        low += unit


@compiled
def correlate_lines(line: Any, out: Strip, outers: int, lanes: int, weights: F8, kind: int) -> None:
    """Correlate the lines of one block with `weights`; `out` may be the block itself.

    line: the strips (lo, block, hi), with `outers` planes of rows of `lanes` cells. kind: SUM, DIFFERENCE or PLAIN.
    """
    n, reach = out.rows, weights.size - 1
    span = 128 if reach < 4096 else 16  # lanes of a tile: its rows and their reach stay in the cache
    chunks = (lanes + span - 1) // span
    for chunk in range(chunks):
        begin = chunk * lanes // chunks
        width = (chunk + 1) * lanes // chunks - begin
        rows = min(n, max(128, 2048 // width))
        buf = aligned((rows + reach) * width)
        # Fewer rows at once are summed than loaded: they, and what they read, stay in the innermost cache.
        step = max(1, 1024 // width)
        acc = aligned(step * width)
        for outer in range(outers):
            loaded: Any = np.int64(0)  # not the literal, for which `load_line` would be compiled, too
            for first in range(0, n, rows):
                now = min(rows, n - first)
                until = first + now + reach
                load_line(buf, (loaded - first) * width, loaded, until, line, outer, begin, width)
                loaded = until
                for row in range(0, now, step):
                    some = min(step, now - row)
                    _weigh(acc, buf[row * width :], np.uint64(some * width), np.uint64(width), weights, kind)
                    store_rows(acc, out, outer, begin, first + row, some, width)
                for p in range(reach * width):
                    buf[p] = buf[p + now * width]
