"""Compiled loops over pairs of sources: which are in another's wings."""

from __future__ import annotations

import math
from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["ZONE", "A", "X", "Y", "cover", "find_levels", "fit"]

ZONE = 10.0  # half axes of both, within which one may be in the other's wings
FARTHEST = 1e10  # of the profile's denominator, beyond which nothing is left
STEEPEST = 0.99  # of the threshold over what is halfway to the peak
NARROWEST = 1e-9  # of the product of half axes
# What is known of a source: light and place; half axis and moments; height, slope and the level to be covered.
LIGHT, X, Y, A, XX, YY, XY, TOP, SLOPE, LEVEL = range(10)


@compiled
def cover(first: Any, sources: Any, homes: Any, beta: float, dropped: Any) -> None:
    """Mark what is in the wings of a brighter source, of all pairs whose smaller one is at home.

    Parameters
    ----------
    first : a number of each source, that decides between equal ones.
    sources : a row for each, in the order of y.
    homes : the rows of those at home.
    dropped : which ones are in another's wings.
    """
    for large in range(len(sources)):
        y, a = sources[large, Y], sources[large, A]
        reach = 2 * ZONE * a
        low, high = 0, len(homes)
        while low < high:
            middle = (low + high) // 2
            if sources[homes[middle], Y] < y - reach:
                low = middle + 1
            else:
                high = middle
        for m in range(low, len(homes)):
            small = homes[m]
            if sources[small, Y] - y > reach:
                break
            if sources[small, A] > a:
                continue
            for k, n in ((small, large), (large, small)):
                if dropped[k] or sources[n, LIGHT] < sources[k, LIGHT]:
                    continue
                if sources[n, LIGHT] == sources[k, LIGHT] and first[n] <= first[k]:
                    continue
                dx, dy = sources[k, X] - sources[n, X], sources[k, Y] - sources[n, Y]
                limit = ZONE * (sources[k, A] + sources[n, A])
                if dx * dx + dy * dy > limit * limit:
                    continue
                xx, yy, xy = sources[n, XX], sources[n, YY], sources[n, XY]
                radius = (yy * dx * dx + xx * dy * dy - 2 * xy * dx * dy) / (xx * yy - xy * xy)
                under = 1 + sources[n, SLOPE] * radius
                if 1 < under < FARTHEST and sources[n, TOP] * under**-beta > sources[k, LEVEL]:
                    dropped[k] = True


@compiled
def fit(counts: Any, above: Any, half: Any, middle: Any, limit: float, beta: float, out: Any) -> None:
    """Put height and slope of the profile of each source in place of its light and the product of its half axes.

    Parameters
    ----------
    counts, above, half : pixels of each: all, those above the threshold, and above `middle`, halfway to the peak.
    limit : the threshold.
    """
    for k in range(len(out)):
        axes, ratio = max(out[k, 1], NARROWEST), limit / middle[k]
        lost = float(half[k] - above[k]) if half[k] < above[k] else -1.0
        share = 1.0
        if ratio > 0:
            share = min(lost / (2 * math.pi * math.log(ratio if ratio < 1 else STEEPEST) * axes), 1.0)
        top = out[k, 0] / (2 * math.pi * axes * share)
        out[k, 0], out[k, 1] = top, ((top / limit) ** (1 / beta) - 1) * math.pi * axes / counts[k]


@compiled
def find_levels(ends: Any, signal: Any, limit: Any, area: int, heap: Any, out: Any) -> None:
    """Set the level of each source: its pixel number `area`, in order of brightness, above the threshold; 0: fewer.

    As SExtractor and sep have it: of just so many pixels the first one; pixel number area + 1 is passed over; and their
    heap goes down one place beside the child that it has looked at, so that it may end with a brighter pixel.
    """
    for k in range(ends.size - 1):
        low, high = ends[k], ends[k + 1]
        if high - low < area:
            continue
        for n in range(area):
            heap[n] = signal[low + n] - limit
        if high - low > area:
            for n in range(1, area):
                value, slot = heap[n], n
                while slot and heap[slot - 1] > value:
                    heap[slot] = heap[slot - 1]
                    slot -= 1
                heap[slot] = value
        for n in range(low + area + 1, high):
            value = signal[n] - limit
            if value <= heap[0]:
                continue
            heap[0] = value
            slot = 0
            while 2 * slot + 1 < area:
                child = 2 * slot + 1
                if child + 1 < area and heap[child] > heap[child + 1]:
                    child += 1
                if heap[slot] <= heap[child]:
                    break
                heap[slot], heap[child] = heap[child], heap[slot]
                slot = child + 1
        out[k, 2] = heap[0]
