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
    counts = np.zeros(LEVELS, np.int64)
    for j in range(level.shape[0]):
        for i in range(level.shape[1]):
            part = image[j * height : (j + 1) * height, i * width : (i + 1) * width]
            n, mean, sigma = _moments(part, -np.inf, np.inf)
            level[j, i] = noise[j, i] = np.nan
            if n < LEAST_GOOD * part.size:
                continue
            low, high = np.float32(mean - 2 * sigma), np.float32(mean + 2 * sigma)
            n, mean, sigma = _moments(part, low, high)
            bins = min(int(BINS_PER_PIXEL * n + 1), LEVELS)
            scale = 2 * REACH * sigma / bins if sigma > 0 else 1.0
            zero = mean - REACH * sigma
            _count(part, zero, 1.0 / scale, counts[:bins])
            level[j, i], noise[j, i] = _mode(counts[:bins], zero, scale)


@compiled
def _moments(part: Any, low: Any, high: Any) -> Any:
    """Return how many values are from low to high, their mean, and their standard deviation."""
    n, total, squares = 0, 0.0, 0.0
    for row in part:
        for value in row:
            if low <= value <= high:
                v = np.float64(value)
                n += 1
                total += v
                squares += v * v
    if n == 0:
        return 0, 0.0, 0.0
    mean = total / n
    return n, mean, math.sqrt(max(squares / n - mean * mean, 0.0))


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
def _mode(counts: Any, zero: float, scale: float) -> Any:
    """Return the mode and the width of a histogram, of which the bins beyond 3 widths of the median are cut off."""
    last = counts.size - 1
    low, high = 0, last
    mean = median = 0.0
    sigma, before = 10.0 * last, 1.0
    rounds = 0
    while rounds < ROUNDS and sigma >= 0.1 and abs(sigma / before - 1) > SETTLED:
        rounds += 1
        before = sigma
        total = mean = squares = 0.0
        for n in range(low, high + 1):
            total += counts[n]
            mean += counts[n] * float(n)
            squares += counts[n] * float(n) * n
        median = _middle(counts, low, high)
        sigma = 0.0
        if total > 0:
            mean /= total
            sigma = math.sqrt(max(squares / total - mean * mean, 0.0))
        low = max(int(median - 3 * sigma + 0.5), 0)
        high = int(median + 3 * sigma + 0.5)
        high = min(high, last) if high > 0 else 0
    if sigma == 0 or abs(mean - median) >= SKEWED * sigma:
        middle = mean if sigma == 0 else median
    else:
        middle = 2.5 * median - 1.5 * mean
    return zero + middle * scale, sigma * scale


@compiled
def _middle(counts: Any, low: int, high: int) -> float:
    """Return the place of the median, by counting from both ends until they meet."""
    first, final, below, above = low, high, 0, 0
    for _ in range(low, high + 1):
        if below < above:
            below += counts[first]
            first += 1
        else:
            above += counts[final]
            final -= 1
    if final < 0:
        return 0.0
    # `first` is where the next from below would be counted: just above `final`.
    most = max(counts[min(first, counts.size - 1)], counts[final])
    return final + 0.5 + (above - below) / (2.0 * most) if most else final + 0.5


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
