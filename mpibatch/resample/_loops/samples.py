"""Values between cells, operation by operation as scipy.ndimage's: folded coordinates, B-spline weights, and sums.

A value is the sum of the products of (order + 1)**axes coefficients with a weight for each axis, added in C order. The
coefficients lie packed in one flat array: for each axis a table says which place an index of the whole array has there,
from `MARGIN` cells before the first wall to as many behind the last one; -1 stands for a cell that is `cval`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled, told_apart

__all__ = ["MARGIN", "MODES", "mark_points", "sample_axes", "sample_plane", "sample_points", "tabulate"]

F8 = Any
I8 = Any
Unsigned = Any  # np.uint64

CONSTANT, NEAREST, MIRROR, REFLECT, WRAP, GRID_WRAP, GRID_CONSTANT = range(7)
MODES = {
    "constant": CONSTANT,
    "nearest": NEAREST,
    "mirror": MIRROR,
    "reflect": REFLECT,
    "grid-mirror": REFLECT,
    "wrap": WRAP,
    "grid-wrap": GRID_WRAP,
    "grid-constant": GRID_CONSTANT,
}
MARGIN = 8  # more than a spline reaches: whatever begins further out reads the same cells
TILE = 64  # results of a tile, along both axes
ROOM = 4 * TILE * TILE  # cells that are copied for one
NOWHERE = -2.0  # what a coordinate is folded to that has no value but `cval`


@compiled
def _fold(x: float, n: int, mode: int) -> Any:
    """Return where a coordinate lies between the walls."""
    if not (x < 0.0 or x > n - 1):
        return x if x == x else NOWHERE
    if mode == CONSTANT:
        return NOWHERE
    if n <= 1:
        return 0.0
    if mode == MIRROR:
        period = 2.0 * n - 2.0
        if x < 0.0:
            x = period * np.trunc(-x / period) + x
            return x + period if x <= 1 - n else -x
        x -= period * np.trunc(x / period)
        return period - x if x >= n else x
    if mode == REFLECT:
        period = 2.0 * n
        if x < 0.0:
            if x < -period:
                x = period * np.trunc(-x / period) + x
            return x + period if x < -n else (1e-15 if x > -1e-15 else -x) - 1
        x -= period * np.trunc(x / period)
        return period - x - 1 if x >= n else x
    if mode == WRAP:
        period = n - 1.0
        return x + period * (np.trunc(-x / period) + 1) if x < 0.0 else x - period * np.trunc(x / period)
    period = 1.0 * n
    return x + period * (np.trunc((-1 - x) / period) + 1) if x < 0.0 else x - period * np.trunc(x / period)


@compiled
def _placed(x: float, n: int, mode: int, order: int) -> Any:
    """Return a coordinate folded, the first index that is read for it, and whether there is a value at all."""
    is_open = mode in (NEAREST, GRID_CONSTANT)
    if not is_open:
        x = _fold(x, n, mode)
    if not (x > -1.0 or (is_open and x == x)):
        return NOWHERE, -MARGIN, False
    first = np.floor(x if order & 1 else x + 0.5) - order // 2
    return x, np.int64(min(max(first, -MARGIN * 1.0), n + MARGIN - order - 1.0)), True


@compiled
def _weigh(x: float, order: int, w: F8) -> None:
    """Write the weights of the order + 1 cells around a coordinate."""
    x -= np.floor(x if order & 1 else x + 0.5)
    y = x
    z = 1.0 - x
    if order == 1:
        w[0] = 1.0 - x
    elif order == 2:
        w[1] = 0.75 - x * x
        y = 0.5 - x
        w[0] = 0.5 * y * y
    elif order == 3:
        w[1] = (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0
        w[2] = (z * z * (z - 2.0) * 3.0 + 4.0) / 6.0
        w[0] = z * z * z / 6.0
    elif order == 4:
        t = x * x
        w[2] = t * (t * 0.25 - 0.625) + 115.0 / 192.0
        y = 1.0 + x
        w[1] = y * (y * (y * (5.0 - y) / 6.0 - 1.25) + 5.0 / 24.0) + 55.0 / 96.0
        w[3] = z * (z * (z * (5.0 - z) / 6.0 - 1.25) + 5.0 / 24.0) + 55.0 / 96.0
        y = 0.5 - x
        t = y * y
        w[0] = t * t / 24.0
    elif order == 5:
        t = y * y
        w[2] = t * (t * (0.25 - y / 12.0) - 0.5) + 0.55
        t = z * z
        w[3] = t * (t * (0.25 - z / 12.0) - 0.5) + 0.55
        y += 1.0
        w[1] = y * (y * (y * (y * (y / 24.0 - 0.375) + 1.25) - 1.75) + 0.625) + 0.425
        z += 1.0
        w[4] = z * (z * (z * (z * (z / 24.0 - 0.375) + 1.25) - 1.75) + 0.625) + 0.425
        y = 1.0 - x
        t = y * y
        w[0] = y * t * t / 120.0
    w[order] = 1.0
    for i in range(order):
        w[order] -= w[i]


@compiled
def _value(
    first: I8, weights: F8, order: int, cval: float, cells: F8, strides: I8, lengths: I8, table: I8, counter: I8
) -> Any:
    """Return the value around the first indices, one for each axis."""
    axes = first.size
    is_inside = True
    base = 0
    for h in range(axes):
        if first[h] < 0 or first[h] + order >= lengths[h]:
            is_inside = False
        else:
            base += strides[h] * table[h, first[h] + MARGIN]
    if is_inside and order == 0:
        return 0.0 + cells[base]
    total = 0.0
    if is_inside and axes == 3:
        w0, w1, w2 = weights[0], weights[1], weights[2]
        for i in range(order + 1):
            for j in range(order + 1):
                at = base + i * strides[0] + j * strides[1]
                for k in range(order + 1):
                    total += cells[at + k] * w0[i] * w1[j] * w2[k]
        return total
    if is_inside and axes == 2:
        w0, w1 = weights[0], weights[1]
        for i in range(order + 1):
            at = base + i * strides[0]
            for j in range(order + 1):
                total += cells[at + j] * w0[i] * w1[j]
        return total
    # Any number of axes, any cell beyond a wall: as an odometer counts.
    taps = 1
    for h in range(axes):
        taps *= order + 1
        counter[h] = 0
    for _ in range(taps):
        place = 0
        is_cval = False
        for h in range(axes):
            at = table[h, first[h] + counter[h] + MARGIN]
            is_cval = is_cval or at < 0
            place += strides[h] * at
        value = cval if is_cval else cells[place]
        if order > 0:
            for h in range(axes):
                value *= weights[h, counter[h]]
        total += value
        for h in range(axes - 1, -1, -1):
            counter[h] += 1
            if counter[h] <= order:
                break
            counter[h] = 0
    return total


@compiled
def sample_points(
    points: F8, pads: I8, order: int, cval: float, cells: F8, strides: I8, lengths: I8, modes: I8, table: I8, out: F8
) -> None:
    """Write the values at points, of which there is a row of coordinates for each axis."""
    axes = lengths.size
    first, counter, weights = np.empty(axes, np.int64), np.empty(axes, np.int64), np.empty((axes, 6))
    for m in range(out.size):
        is_somewhere = True
        for h in range(axes):
            x, first[h], is_there = _placed(points[h, m] + pads[h], lengths[h], modes[h], order)
            if not is_there:
                is_somewhere = False
                break
            if order > 0:
                _weigh(x, order, weights[h])
        out[m] = _value(first, weights, order, cval, cells, strides, lengths, table, counter) if is_somewhere else cval


@compiled
def mark_points(points: F8, pads: I8, order: int, lengths: I8, modes: I8, marks: I8) -> None:
    """Mark the first indices that points read, in a row for each axis that begins `MARGIN` before the wall."""
    for h in range(lengths.size):
        for m in range(points.shape[1]):
            _, first, is_there = _placed(points[h, m] + pads[h], lengths[h], modes[h], order)
            if is_there:
                marks[h, first + MARGIN] = True


@compiled
def tabulate(x: F8, n: int, mode: int, order: int, first: I8, weights: F8) -> None:
    """Write first indices and weights of an axis's coordinates; a weight that is no number where there is `cval`."""
    for m in range(x.size):
        at, first[m], is_there = _placed(x[m], n, mode, order)
        if order > 0:
            _weigh(at, order, weights[m])
        if not is_there:
            weights[m, 0] = np.nan


@compiled
def sample_axes(
    firsts: I8, weights: F8, shape: I8, order: int, cval: float, cells: F8, strides: I8, lengths: I8, table: I8, out: F8
) -> None:
    """Write the values at the points of a mesh, of which each axis has a table of first indices and weights."""
    axes = lengths.size
    first, counter, at = np.empty(axes, np.int64), np.empty(axes, np.int64), np.zeros(axes, np.int64)
    own = np.empty((axes, 6))
    for m in range(out.size):
        is_somewhere = True
        for h in range(axes):
            if weights[h, at[h], 0] != weights[h, at[h], 0]:
                is_somewhere = False
            first[h] = firsts[h, at[h]]
            own[h] = weights[h, at[h]]
        out[m] = _value(first, own, order, cval, cells, strides, lengths, table, counter) if is_somewhere else cval
        for h in range(axes - 1, -1, -1):
            at[h] += 1
            if at[h] < shape[h]:
                break
            at[h] = 0


@compiled
def _four(cells: F8, at: Unsigned, a: float, b0: float, b1: float, b2: float, b3: float, total: float) -> Any:
    total += cells[at] * a * b0
    total += cells[at + np.uint64(1)] * a * b1
    total += cells[at + np.uint64(2)] * a * b2
    return total + cells[at + np.uint64(3)] * a * b3


@told_apart
@compiled
def _linear(out: F8, start: float, y0: float, ys: float, x0: float, xs: float, cells: F8, row: int, base: int) -> None:
    """Write a row of values at ``y0 + (start + j) * ys`` and so on, of order 1. Unsigned: no wrap-around."""
    unit, below = np.uint64(1), np.uint64(row)
    for j in range(np.uint64(out.size)):
        place = start + np.float64(np.int32(j))
        y, x = y0 + place * ys, x0 + place * xs
        top, left = np.floor(y), np.floor(x)
        at = np.uint64(np.int64(np.int32(top)) * row + np.int64(np.int32(left)) + base)
        a, b = 1.0 - (y - top), 1.0 - (x - left)
        total = 0.0 + cells[at] * a * b
        total += cells[at + unit] * a * (1.0 - b)
        total += cells[at + below] * (1.0 - a) * b
        out[j] = total + cells[at + below + unit] * (1.0 - a) * (1.0 - b)


@told_apart
@compiled
def _cubic(
    out: F8, start: float, y0: float, ys: float, ypad: float, x0: float, xs: float, xpad: float, cells: F8, row: int,
    base: int,
) -> None:  # fmt: skip
    """Write a row of values at ``y0 + (start + j) * ys + ypad`` and so on, of order 3."""
    below = np.uint64(row)
    for j in range(np.uint64(out.size)):
        place = start + np.float64(np.int32(j))
        y, x = y0 + place * ys + ypad, x0 + place * xs + xpad
        top, left = np.floor(y), np.floor(x)
        at = np.uint64(np.int64(np.int32(top)) * row + np.int64(np.int32(left)) + base)
        y -= top
        x -= left
        z, w = 1.0 - y, 1.0 - x
        a1, b1 = (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0, (x * x * (x - 2.0) * 3.0 + 4.0) / 6.0
        a2, b2 = (z * z * (z - 2.0) * 3.0 + 4.0) / 6.0, (w * w * (w - 2.0) * 3.0 + 4.0) / 6.0
        a0, b0 = z * z * z / 6.0, w * w * w / 6.0
        a3, b3 = 1.0 - a0 - a1 - a2, 1.0 - b0 - b1 - b2
        total = _four(cells, at, a0, b0, b1, b2, b3, 0.0)
        at += below
        total = _four(cells, at, a1, b0, b1, b2, b3, total)
        at += below
        total = _four(cells, at, a2, b0, b1, b2, b3, total)
        at += below
        out[j] = _four(cells, at, a3, b0, b1, b2, b3, total)


@compiled
def _corners(begin: float, across: float, along: float, pad: float, i: int, j: int, tall: int, wide: int) -> Any:
    """Return the least and the largest coordinate of a tile: rounded as they are, they never turn, so at corners."""
    least, most = np.inf, -np.inf
    for a in (i, i + tall - 1):
        for b in (j, j + wide - 1):
            x = begin + a * across + b * along + pad
            least, most = min(least, x), max(most, x)
    return least, most


@compiled
def _is_beyond(least: float, most: float, n: int, mode: int) -> Any:
    """Whether no coordinate of a tile has another value than `cval`."""
    return mode == CONSTANT and (most < 0.0 or least > n - 1)


@compiled
def _is_inside(points: F8, k: int, pads: I8, low: F8, high: F8) -> Any:
    """Whether all that is read for a point lies in the longest run along each axis."""
    y, x = points[0, k] + pads[0], points[1, k] + pads[1]
    return low[0] <= y < high[0] and low[1] <= x < high[1]


@compiled
def sample_plane(
    matrix: F8, offset: F8, corner: I8, runs: I8, pads: I8, order: int, cval: float,
    cells: F8, strides: I8, lengths: I8, modes: I8, table: I8, out: F8,
) -> None:  # fmt: skip
    """Write the values of a plane's affine map, order 1 or 3.

    In tiles, for which the cells that are read are copied to a buffer: a turned row goes through as many rows of the
    plane, which would lie in the same few lines of the cache where they have 2**n cells.
    """
    half = order // 2
    points, buffer = np.empty((2, TILE)), np.empty(ROOM)
    low, high = runs[:, 0] + half * 1.0, runs[:, 1] + half * 1.0 - order
    base = (table[0, runs[0, 0] + MARGIN] - runs[0, 0]) * strides[0] + table[1, runs[1, 0] + MARGIN] - runs[1, 0]
    for first in range(0, out.shape[0], TILE):
        tall = min(TILE, out.shape[0] - first)
        i = corner[0] + first
        for left in range(0, out.shape[1], TILE):
            wide = min(TILE, out.shape[1] - left)
            j = corner[1] + left
            y_low, y_high = _corners(offset[0], matrix[0, 0], matrix[0, 1], pads[0], i, j, tall, wide)
            x_low, x_high = _corners(offset[1], matrix[1, 0], matrix[1, 1], pads[1], i, j, tall, wide)
            if low[0] <= y_low and y_high < high[0] and low[1] <= x_low and x_high < high[1]:
                top, side = np.int64(np.floor(y_low)) - half, np.int64(np.floor(x_low)) - half
                rows = np.int64(np.floor(y_high)) - half + order + 1 - top
                columns = np.int64(np.floor(x_high)) - half + order + 1 - side
                source, row, place = cells, strides[0], base - half * strides[0] - half
                if rows * (columns | 1) <= ROOM:
                    source, row = buffer, columns | 1
                    place = -(top + half) * row - side - half
                    for r in range(rows):
                        at = (top + r) * strides[0] + side + base
                        for k in range(columns):
                            buffer[r * row + k] = cells[at + k]
                for r in range(tall):
                    y, x = offset[0] + (i + r) * matrix[0, 0], offset[1] + (i + r) * matrix[1, 0]
                    line = out[first + r, left : left + wide]
                    if order == 1:
                        _linear(line, j * 1.0, y, matrix[0, 1], x, matrix[1, 1], source, row, place)
                    else:
                        _cubic(
                            line, j * 1.0, y, matrix[0, 1], pads[0] * 1.0, x, matrix[1, 1], pads[1] * 1.0,
                            source, row, place,
                        )  # fmt: skip
                continue
            if _is_beyond(y_low, y_high, lengths[0], modes[0]) or _is_beyond(x_low, x_high, lengths[1], modes[1]):
                out[first : first + tall, left : left + wide] = cval
                continue
            for r in range(tall):
                y, x = offset[0] + (i + r) * matrix[0, 0], offset[1] + (i + r) * matrix[1, 0]
                for k in range(wide):
                    points[0, k] = y + (j + k) * matrix[0, 1]
                    points[1, k] = x + (j + k) * matrix[1, 1]
                begin, end = 0, wide
                while begin < end and not _is_inside(points, begin, pads, low, high):
                    begin += 1
                while begin < end and not _is_inside(points, end - 1, pads, low, high):
                    end -= 1
                line = out[first + r, left : left + wide]
                if order == 1:
                    _linear(
                        line[begin:end], 1.0 * (j + begin), y, matrix[0, 1], x, matrix[1, 1], cells, strides[0], base
                    )
                else:
                    _cubic(
                        line[begin:end], 1.0 * (j + begin), y, matrix[0, 1], pads[0] * 1.0, x, matrix[1, 1],
                        pads[1] * 1.0, cells, strides[0], base - strides[0] - 1,
                    )  # fmt: skip
                for a, b in ((0, begin), (end, wide)):
                    if a < b:
                        sample_points(
                            points[:, a:b], pads, order, cval, cells, strides, lengths, modes, table, line[a:b]
                        )
