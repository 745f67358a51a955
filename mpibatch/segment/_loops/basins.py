"""Compiled loops of the watershed of one block: how each cell is reached, from which neighbor, and from which root.

A cell is reached at a level and, within it, in a layer: a number of steps. Cells wait in buckets by level, each a
chain; only the bucket whose turn it is becomes a heap, small enough for the cache. What is reached at the level that
floods now waits in a queue: it comes in the order of its layers.

All arrays are flat and padded. Layers count from 1 (a marker); 0 is a cell that is not reached. Levels and layers never
get worse towards a later cell, so that within a call each cell waits at most once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.segment._loops.queues import enlarged

__all__ = ["CLOSED", "OPEN", "REACHED", "choose", "flood", "follow", "mend", "paint"]

Array = Any
CLOSED, OPEN, REACHED = 0, 1, 2  # cells outside the mask or of other ranks; in the mask; and reached
MARKER, ENTRY, STEP = 1, 2, 2  # layers of a marker, of a cell above its parent, and from layer to layer
LISTED = -2  # in a chain of its own kind: that of the cells to begin with


@compiled
def _bucket(value: Any, low: float, scale: float, buckets: int) -> int:
    """Return which bucket a level belongs to: never an earlier one than a lower level does. Local."""
    place = (np.float64(value) - low) * scale
    if place >= buckets - 1:
        return buckets - 1
    return int(place) if place > 0 else 0


@compiled
def _push(values: Array, cells: Array, layers: Array, size: int, value: Any, at: int) -> None:
    """Add a cell to a heap of so many. Local."""
    layer = layers[at]
    slot = size
    while slot:
        upper = (slot - 1) >> 1
        if values[upper] < value or (values[upper] == value and layers[cells[upper]] <= layer):
            break
        values[slot], cells[slot] = values[upper], cells[upper]
        slot = upper
    values[slot], cells[slot] = value, at


@compiled
def _drop(values: Array, cells: Array, layers: Array, size: int) -> None:
    """Take the first cell off a heap of which so many stay. Local."""
    value, at = values[size], cells[size]
    layer = layers[at]
    slot = 0
    while True:
        lower = 2 * slot + 1
        if lower >= size:
            break
        other = lower + 1
        if other < size and (
            values[other] < values[lower]
            or (values[other] == values[lower] and layers[cells[other]] < layers[cells[lower]])
        ):
            lower = other
        if value < values[lower] or (value == values[lower] and layer <= layers[cells[lower]]):
            break
        values[slot], cells[slot] = values[lower], cells[lower]
        slot = lower
    values[slot], cells[slot] = value, at


@compiled
def flood(
    image: Array,
    levels: Array,
    layers: Array,
    state: Array,
    chain: Array,
    sources: Array,
    steps: Array,
    low: float,
    scale: float,
    buckets: int,
    is_first: bool,
) -> None:
    """Let the sources reach what they can, at the least level and in the least layer. Local.

    Parameters
    ----------
    image : what level a cell has at least.
    levels, layers, state : of each cell; those of the sources are given.
    chain : room for a cell each.
    sources : cells, each once.
    steps : to the neighbors.
    low, scale, buckets : the bucket of a level, see `_bucket`.
    is_first : whether no other cells than the sources have been reached, which are owned ones.
    """
    heads = np.full(buckets, -1, chain.dtype)
    for at in sources:
        bucket = _bucket(levels[at], low, scale, buckets)
        chain[at] = heads[bucket]
        heads[bucket] = at
    values, cells = np.empty(256, levels.dtype), np.empty(256, chain.dtype)
    queue = np.empty(256, chain.dtype)
    size = head = count = 0
    for bucket in range(buckets):
        at = heads[bucket]
        while at >= 0:
            if size == values.size:
                values, cells = enlarged(values, 0), enlarged(cells, 0)
            _push(values, cells, layers, size, levels[at], at)
            size += 1
            at = chain[at]
        while size or count:
            if count:
                at = queue[head]
                if size and values[0] == levels[at] and layers[cells[0]] < layers[at]:
                    at = cells[0]
                    size -= 1
                    _drop(values, cells, layers, size)
                else:
                    head = (head + 1) & (queue.size - 1)
                    count -= 1
            else:
                at = cells[0]
                size -= 1
                _drop(values, cells, layers, size)
            level, next_layer = levels[at], layers[at] + STEP
            for step in steps:
                there = at + step
                known = state[there]
                if known == CLOSED or (is_first and known == REACHED):
                    continue
                value = image[there]
                rises = value > level
                layer = ENTRY if rises else next_layer
                value = value if rises else level
                if known == REACHED:
                    held = levels[there]
                    if held < value or (held == value and layers[there] <= layer):
                        continue
                state[there] = REACHED
                levels[there] = value
                layers[there] = layer
                if not rises:
                    if count == queue.size:
                        queue, head = enlarged(queue, head), 0
                    queue[(head + count) & (queue.size - 1)] = there
                    count += 1
                    continue
                other = _bucket(value, low, scale, buckets)
                if other == bucket:
                    if size == values.size:
                        values, cells = enlarged(values, 0), enlarged(cells, 0)
                    _push(values, cells, layers, size, value, there)
                    size += 1
                else:
                    chain[there] = heads[other]
                    heads[other] = there


@compiled
def mend(
    image: Array,
    levels: Array,
    layers: Array,
    state: Array,
    chain: Array,
    bases: Array,
    length: int,
    at_face: Array,
    low: int,
    high: int,
    steps: Array,
    sources: Array,
) -> int:
    """Write the halo cells that owned ones are reached better from, each once, and return how many. Local."""
    count = 0
    for i in range(bases.size):
        x = 0
        while x < length:
            at = bases[i] + x
            if state[at] != CLOSED:
                for step in steps:
                    there = at + step
                    if state[there] != CLOSED or layers[there] == 0 or chain[there] == LISTED:
                        continue
                    rises = image[at] > levels[there]
                    level = image[at] if rises else levels[there]
                    layer = ENTRY if rises else layers[there] + STEP
                    if state[at] == OPEN or level < levels[at] or (level == levels[at] and layer < layers[at]):
                        chain[there] = LISTED
                        sources[count] = there
                        count += 1
            x += 1
            if x == low and not at_face[i]:
                x = max(x, length - high)
    return count


@compiled
def choose(
    levels: Array,
    layers: Array,
    state: Array,
    bases: Array,
    length: int,
    steps: Array,
    parents: Array,
    ties: Array,
    beyond: Array,
) -> tuple[int, int]:
    """Write the neighbor that each owned cell is reached from: the first of the least level and layer. Local.

    Markers, and cells that are not reached, are their own parents, and so are halo cells that become parents, which
    `beyond` gets (some often). Returned are how many cells had more than one neighbor to choose from, which is written
    to `ties` unless that is empty, and how many entries `beyond` has.
    """
    tied, count = 0, 0
    for i in range(bases.size):
        for x in range(length):
            at = bases[i] + x
            parents[at] = at
            if state[at] != REACHED or layers[at] == MARKER:
                continue
            first, is_tie = at, False
            for step in steps:
                there = at + step
                if layers[there] == 0:
                    continue
                if first != at:
                    if levels[there] > levels[first]:
                        continue
                    if levels[there] == levels[first]:
                        if layers[there] > layers[first]:
                            continue
                        if layers[there] == layers[first]:
                            is_tie = True
                            continue
                first, is_tie = there, False
            parents[at] = first
            if state[first] == CLOSED:
                parents[first] = first
                beyond[count] = first
                count += 1
            if is_tie:
                tied += 1
                if ties.size:
                    ties[i * length + x] = True
    return tied, count


@compiled
def follow(parents: Array, bases: Array, length: int) -> None:
    """Make each owned cell's root its parent. Local."""
    for base in bases:
        for at in range(base, base + length):
            root = parents[at]
            while parents[root] != root:
                root = parents[root]
            way = at
            while way != root:
                after = parents[way]
                parents[way] = root
                way = after


@compiled
def paint(labels: Array, parents: Array, bases: Array, length: int, out: Array) -> None:
    """Write the labels of their roots to owned cells. Local."""
    for i in range(bases.size):
        for x in range(length):
            out[i * length + x] = labels[parents[bases[i] + x]]
