"""Compiled loops over objects: peaks that stand apart at one of many thresholds become sources of their own.

The method is SExtractor's (E. Bertin, S. Arnouts 1996, doi:10.1051/aas:1996164). At each threshold an object falls into
branches. Where two or more branches of the same piece have more flux above the threshold than a share of the whole,
each of them is a source. What remains belongs to the source whose Gaussian is the largest there, where SExtractor
draws lots.

An object is known by its pixels alone, in raster order: so all that follows is the same on any ranks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.apps.catalog._loops.shapes import ellipse, moments
from mpibatch.base.compiled import compiled

__all__ = ["deblend"]

FEWEST = 3  # pixels of a branch


@compiled
def deblend(
    ends: Any,
    places: Any,
    signal: Any,
    width: int,
    threshold: float,
    steps: int,
    contrast: float,
    area: int,
    owner: Any,
) -> int:
    """Set for each pixel the number of its source, from 0, and return how many there are.

    ends: where each object's pixels begin, and the end of the last. places: their raster indices in a frame of this
    width. steps: thresholds from the first to the peak, at equal ratios. area: pixels that an object has at least.
    """
    count = 0
    for k in range(ends.size - 1):
        low, high = ends[k], ends[k + 1]
        if high - low < area:
            owner[low:high] = -1
            continue
        mine = owner[low:high]
        mine[:] = -1
        parts = 0
        if high - low >= 2 * FEWEST and steps > 1 and contrast < 1:
            parts = _branches(places[low:high], signal[low:high], width, threshold, steps, contrast, area, mine)
        if parts:
            for n in range(low, high):
                owner[n] += count
            count += parts
        else:
            mine[:] = count
            count += 1
    return count


@compiled
def _root(parent: Any, n: int) -> int:
    while parent[n] != n:
        parent[n] = parent[parent[n]]
        n = parent[n]
    return n


@compiled
def _branches(
    places: Any, signal: Any, width: int, threshold: float, steps: int, contrast: float, area: int, owner: Any
) -> int:
    """Number one object's pixels by the source that each belongs to; return 0, and change nothing, if it is one."""
    size = places.size
    peak, total = 0.0, 0.0
    for n in range(size):
        peak = max(peak, np.float64(signal[n]))
        total += signal[n]
    least = contrast * total
    limits = np.empty(steps, np.float32)
    for k in range(steps):
        limits[k] = threshold * (peak / threshold) ** (k / steps)
    level = np.empty(size, np.int64)
    begin = np.zeros(steps + 1, np.int64)
    for n in range(size):
        level[n] = max(np.searchsorted(limits, signal[n]) - 1, 0)  # the last limit below the signal
        begin[level[n] + 1] += 1
    begin = np.cumsum(begin)
    sorted_pixels, at = np.empty(size, np.int64), begin[:-1].copy()
    for n in range(size):
        sorted_pixels[at[level[n]]] = n
        at[level[n]] += 1
    grid, first, span = _map(places, width)
    fewest = min(area, FEWEST)

    parent, following, last = np.full(size, -1), np.full(size, -1), np.arange(size)
    pixels, flux = np.ones(size, np.int64), signal.astype(np.float64)
    whole = np.ones(size, np.bool_)  # no source of its own in it so far
    branches = np.zeros(size, np.int64)
    alive, living = np.empty(size, np.int64), 0  # the roots at this threshold
    sons, heirs = np.empty((size, 2), np.int64), 0  # those at the one above that count: root, pixels
    weights = np.empty(size)  # their flux above their threshold
    intact = np.empty(size, np.bool_)
    chosen = np.empty((size, 3), np.int64)  # first pixel of a chain, its length, its threshold
    count = 0
    for k in range(steps - 1, -1, -1):
        for m in range(begin[k], begin[k + 1]):
            n = sorted_pixels[m]
            parent[n] = n
            alive[living] = n
            living += 1
            corner = (places[n] // width - first[0]) * span + places[n] % width - first[1]
            for shift in (-span - 1, -span, -span + 1, -1, 1, span - 1, span, span + 1):
                other = grid[corner + shift]
                if other < 0 or parent[other] < 0:
                    continue
                a, b = _root(parent, n), _root(parent, other)
                if a == b:
                    continue
                if pixels[a] < pixels[b]:
                    a, b = b, a
                parent[b] = a
                # Chains are joined end to end, so that a branch's own pixels stay one piece of a chain.
                following[last[a]] = b
                last[a] = last[b]
                pixels[a] += pixels[b]
                flux[a] += flux[b]
        living = _roots(parent, alive, living)
        for m in range(living):
            branches[alive[m]] = 0
            whole[alive[m]] = True
        for m in range(heirs):
            root = _root(parent, sons[m, 0])
            branches[root] += weights[m] > least
            whole[root] &= intact[m]
        for m in range(heirs):
            root = _root(parent, sons[m, 0])
            if branches[root] > 1:
                if intact[m] and weights[m] > least:
                    chosen[count, 0], chosen[count, 1], chosen[count, 2] = sons[m, 0], sons[m, 1], k + 1
                    count += 1
                whole[root] = False
        heirs = 0
        for m in range(living):
            root = alive[m]
            if pixels[root] >= fewest:
                sons[heirs, 0], sons[heirs, 1] = root, pixels[root]
                weights[heirs] = flux[root] - limits[k] * pixels[root]
                intact[heirs] = whole[root]
                heirs += 1
    if count < 2:
        return 0
    for k in range(count):
        n = chosen[k, 0]
        for _ in range(chosen[k, 1]):
            owner[n] = k
            n = following[n]
    _share_out(places, signal, width, owner, chosen, count, limits)
    return count


@compiled
def _roots(parent: Any, alive: Any, living: int) -> int:
    """Keep what is still a root, in place; return how many."""
    kept = 0
    for m in range(living):
        if parent[alive[m]] == alive[m]:
            alive[kept] = alive[m]
            kept += 1
    return kept


@compiled
def _map(places: Any, width: int) -> Any:
    """Return pixels' numbers on a grid around them with an edge of one, -1 elsewhere; its corner and its width."""
    top, bottom = places[0] // width, places[-1] // width
    left, right = width, 0
    for place in places:
        x = place % width
        left, right = min(left, x), max(right, x)
    span = right - left + 3
    grid = np.full((bottom - top + 3) * span, -1)
    for n in range(places.size):
        grid[(places[n] // width - top + 1) * span + places[n] % width - left + 1] = n
    return grid, (top - 1, left - 1), span


@compiled
def _share_out(places: Any, signal: Any, width: int, owner: Any, chosen: Any, count: int, limits: Any) -> None:
    """Give pixels of no branch to that whose Gaussian, of its own moments and threshold, is the largest there."""
    model = np.empty((count, 6))
    order = np.argsort(owner, kind="mergesort")
    at = 0
    while owner[order[at]] < 0:
        at += 1
    for k in range(count):
        low = at
        while at < order.size and owner[order[at]] == k:
            at += 1
        some = order[low:at]
        sums = moments(places[some], signal[some], width)
        peak = 0.0
        for n in some:
            peak = max(peak, np.float64(signal[n]))
        limit = np.float64(limits[chosen[k, 2]])
        # Of a Gaussian that is cut off at this share of its peak, moments are too small by this factor.
        q = limit / peak
        factor = 1 + q * math.log(q) / (1 - q) if q < 1 else 1.0
        grow = 1 / max(factor, 0.05)
        cxx, cyy, cxy, determinant = ellipse(sums[3] * grow, sums[4] * grow, sums[5] * grow)
        height = math.log(limit) + some.size / (2 * math.pi * math.sqrt(determinant))
        height = min(height, math.log(4 * peak))
        model[k, 0], model[k, 1], model[k, 2] = sums[1], sums[2], height
        model[k, 3], model[k, 4], model[k, 5] = cxx, cyy, cxy
    for n in range(places.size):
        if owner[n] >= 0:
            continue
        best = -np.inf
        for k in range(count):
            dx, dy = places[n] % width - model[k, 0], places[n] // width - model[k, 1]
            value = model[k, 2] - 0.5 * (model[k, 3] * dx * dx + model[k, 4] * dy * dy + model[k, 5] * dx * dy)
            if value > best:
                best = value
                owner[n] = k
