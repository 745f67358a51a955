"""Compiled loops over a background mesh: a level for each node, a median around each, and splines between them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["curvatures", "levels", "medians", "spread"]

LEVELS = 4096  # bins of a node's histogram, at most
BINS_PER_PIXEL = math.sqrt(2 / math.pi) * 5 / 4  # so that a bin at the middle of a normal distribution has four
REACH = 5.0  # standard deviations from the mean to the ends of the histogram
LEAST_GOOD = 0.5  # share of a node's pixels, below which it has no level
ROUNDS = 100
SETTLED = 1e-4  # relative change of the width with which clipping ends
SKEWED = 0.3  # standard deviations between mean and median, above which the median stands for the mode


@compiled
def levels(image: Any, height: int, width: int, level: Any, noise: Any) -> None:
    """Set the level and the noise of each node from its pixels: a mode and a width, clipped; NaN: too few pixels.

    image: f4, of whole nodes but at the far walls of the frame; NaN where nothing is known.
    """
    counts, sums = np.zeros(LEVELS, np.int64), np.empty((3, width))
    before = np.empty((LEVELS + 1, 3), np.int64)
    for j in range(level.shape[0]):
        for i in range(level.shape[1]):
            part = image[j * height : (j + 1) * height, i * width : (i + 1) * width]
            n, mean, sigma = _moments(part, np.float32(-np.inf), np.float32(np.inf), sums[:, : part.shape[1]])
            level[j, i] = noise[j, i] = np.nan
            if n < LEAST_GOOD * part.size:
                continue
            low, high = np.float32(mean - 2 * sigma), np.float32(mean + 2 * sigma)
            n, mean, sigma = _moments(part, low, high, sums[:, : part.shape[1]])
            bins = min(int(BINS_PER_PIXEL * n + 1), LEVELS)
            scale = 2 * REACH * sigma / bins if sigma > 0 else 1.0
            zero = mean - REACH * sigma
            _count(part, zero, 1.0 / scale, counts[:bins])
            level[j, i], noise[j, i] = _mode(counts[:bins], zero, scale, before)


@compiled
def _moments(part: Any, low: Any, high: Any, sums: Any) -> Any:
    """Return how many values are from low to high, their mean, and their standard deviation.

    sums: room for three numbers of each column, which are summed up apart, so that the loop is vectorized.
    """
    sums[:] = 0.0
    counts, totals, squares = sums[0], sums[1], sums[2]
    for row in part:
        for i in range(row.size):
            value = row[i]
            is_inside = (low <= value) & (value <= high)
            v = np.float64(value) if is_inside else 0.0
            counts[i] += 1.0 if is_inside else 0.0
            totals[i] += v
            squares[i] += v * v
    n = total = square = 0.0
    for i in range(counts.size):
        n += counts[i]
        total += totals[i]
        square += squares[i]
    if n == 0:
        return 0.0, 0.0, 0.0
    mean = total / n
    return n, mean, math.sqrt(max(square / n - mean * mean, 0.0))


@compiled
def _count(part: Any, zero: float, per_bin: float, counts: Any) -> None:
    counts[:] = 0
    shift = 0.499999 - zero * per_bin
    for row in part:
        for value in row:
            # A NaN is in no interval.
            place = value * per_bin + shift
            if 0 <= place < counts.size:
                counts[int(place)] += 1


@compiled
def _mode(counts: Any, zero: float, scale: float, sums: Any) -> Any:
    """Return the mode and the width of a histogram, of which the bins beyond 3 widths of the median are cut off.

    sums: room for the sums of counts, of counts times bins, and times squares of bins, before each bin: so a round
    need not go through the bins.
    """
    sums[0] = 0
    for n in range(counts.size):
        sums[n + 1, 0] = sums[n, 0] + counts[n]
        sums[n + 1, 1] = sums[n, 1] + counts[n] * n
        sums[n + 1, 2] = sums[n, 2] + counts[n] * n * n
    last = counts.size - 1
    low, high = 0, last
    mean = median = 0.0
    sigma, before = 10.0 * last, 1.0
    rounds = 0
    while rounds < ROUNDS and sigma >= 0.1 and abs(sigma / before - 1) > SETTLED:
        rounds += 1
        before = sigma
        total = float(sums[high + 1, 0] - sums[low, 0])
        median = _middle(counts, sums, low, high)
        mean = sigma = 0.0
        if total > 0:
            mean = (sums[high + 1, 1] - sums[low, 1]) / total
            sigma = math.sqrt(max((sums[high + 1, 2] - sums[low, 2]) / total - mean * mean, 0.0))
        low = max(int(median - 3 * sigma + 0.5), 0)
        high = int(median + 3 * sigma + 0.5)
        high = min(high, last) if high > 0 else 0
    if sigma == 0 or abs(mean - median) >= SKEWED * sigma:
        middle = mean if sigma == 0 else median
    else:
        middle = 2.5 * median - 1.5 * mean
    return zero + middle * scale, sigma * scale


@compiled
def _middle(counts: Any, sums: Any, low: int, high: int) -> float:
    """Return the place of the median between bins: the first that has as many before it as behind it, or more."""
    all_twice = sums[low, 0] + sums[high + 1, 0]
    first, end = low, high + 1
    while first < end:
        k = (first + end) // 2
        if sums[k, 0] + sums[k + 1, 0] >= all_twice:
            end = k
        else:
            first = k + 1
    if first == 0:
        return 0.0
    below, above = sums[first, 0] - sums[low, 0], sums[high + 1, 0] - sums[first, 0]
    most = max(counts[min(first, counts.size - 1)], counts[first - 1])
    return first - 0.5 + (above - below) / (2.0 * most) if most else first - 0.5


@compiled
def medians(padded: Any, start: Any, shape: Any, reach: Any, level: Any, noise: Any) -> None:
    """Set each node to the median of those around it; at walls the window is as much narrower on the other side.

    padded: nodes with `reach` more on each side; level and noise as components. start: of this block, of a mesh of
    `shape`.
    """
    around = np.empty((2 * reach[0] + 1) * (2 * reach[1] + 1))
    for j in range(level.shape[0]):
        tall = min(reach[0], start[0] + j, shape[0] - 1 - start[0] - j)
        for i in range(level.shape[1]):
            wide = min(reach[1], start[1] + i, shape[1] - 1 - start[1] - i)
            for k in range(2):
                n = 0
                for y in range(j + reach[0] - tall, j + reach[0] + tall + 1):
                    for x in range(i + reach[1] - wide, i + reach[1] + wide + 1):
                        around[n] = padded[y, x, k]
                        n += 1
                middle = np.sort(around[:n])[n // 2]
                if k == 0:
                    level[j, i] = middle
                else:
                    noise[j, i] = middle


@compiled
def curvatures(lines: Any, out: Any) -> None:
    """Set a sixth of the second derivative of natural cubic splines along the middle axis, at their nodes 1 apart."""
    count = lines.shape[1]
    factor = np.zeros(count)
    for before in range(lines.shape[0]):
        for behind in range(lines.shape[2]):
            f, c = lines[before, :, behind], out[before, :, behind]
            c[0] = c[count - 1] = 0.0
            for n in range(1, count - 1):
                factor[n] = -1.0 / (factor[n - 1] + 4.0)
                c[n] = (c[n - 1] - (f[n + 1] + f[n - 1] - 2 * f[n])) * factor[n]
            for n in range(count - 2, 0, -1):
                c[n] = factor[n] * c[n + 1] / 6 + c[n]


@compiled
def spread(nodes: Any, first: Any, mesh: Any, sides: Any, start: Any, out: Any) -> None:
    """Set pixels to the bicubic spline through nodes.

    nodes: this block's and one more on each side; components are the value, and a sixth of its second derivatives
    along y, along x, and along both. first: the index of the first of `nodes`, of a mesh of this many nodes with these
    sides in pixels. start: the first of this block's pixels. out: f4.
    """
    bottom = np.empty((nodes.shape[1], 2))
    for row in range(out.shape[0]):
        low, t = _between((start[0] + row) / sides[0] - 0.5, mesh[0])
        a, b = nodes[low - first[0]], nodes[min(low + 1, mesh[0] - 1) - first[0]]
        s = 1.0 - t
        for i in range(nodes.shape[1]):
            for k in range(2):
                bottom[i, k] = s * (a[i, 2 * k] + (s * s - 1) * a[i, 2 * k + 1])
                bottom[i, k] += t * (b[i, 2 * k] + (t * t - 1) * b[i, 2 * k + 1])
        column, width = 0, sides[1]
        while column < out.shape[1]:
            # All pixels between the same two nodes, which whole numbers tell, wherever the block begins.
            low = 0
            if mesh[1] > 1:
                low = min(max((2 * (start[1] + column) + 1 - width) // (2 * width), 0), mesh[1] - 2)
            end = out.shape[1]
            if low + 2 < mesh[1]:
                end = min(end, (2 * low + 3) * width // 2 - start[1])
            left, right = bottom[low - first[1]], bottom[min(low + 1, mesh[1] - 1) - first[1]]
            f, c, g, d = left[0], left[1], right[0], right[1]
            for n in range(column, end):
                t = (start[1] + n + 0.5) / width - (0.5 + low) if mesh[1] > 1 else 0.0
                s = 1.0 - t
                out[row, n] = s * (f + (s * s - 1) * c) + t * (g + (t * t - 1) * d)
            column = end


@compiled
def _between(place: float, count: int) -> Any:
    """Return the node before a place, and how far behind it the place is; beyond the outer nodes, of these."""
    if count == 1:
        return 0, 0.0
    low = min(max(math.floor(place), 0), count - 2)
    return low, place - low
