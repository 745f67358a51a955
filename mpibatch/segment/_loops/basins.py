"""Compiled loops of the watershed of one block: how each cell is reached, from which neighbor, and from which root.

A cell is reached at a level and, within it, in a layer: a number of steps. Cells wait in buckets by level, each a
chain; only the bucket whose turn it is becomes a heap, small enough for the cache. What is reached at the level that
floods now waits in a queue: it comes in the order of its layers.

All arrays are flat and padded. Layers count from 1 (a marker); 0 is a cell that is not reached. Levels and layers never
get worse towards a later cell, so that within a call each cell waits at most once. Those that wait in a chain are all
above their parents, so that their layers are known: in their place stands which cell is next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.segment._loops.queues import enlarged

__all__ = ["CLOSED", "OPEN", "REACHED", "STEPS", "begin", "choose", "flood", "follow", "mend", "paint"]

Array = Any
CLOSED, OPEN, REACHED = 0, 1, 2  # cells outside the mask or of other ranks; in the mask; and reached
STEPS = 3  # in the end: reached by the first of the steps, and so on
MARKER, ENTRY, STEP = 1, 2, 2  # layers of a marker, of a cell above its parent, and from layer to layer
LAST = -1  # in the place of a layer: the last cell of a chain; a lower number is LAST - 1 - the next cell


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
def begin(
    image: Array, levels: Array, layers: Array, state: Array, bases: Array, length: int, steps: Array, kind: Array
) -> Array:
    """Let markers have their level and layer, and return those beside open cells, in the dtype of `kind`. Local."""
    sources, head = np.empty(256, kind.dtype), 0
    for base in bases:
        for at in range(base, base + length):
            if state[at] != REACHED:
                continue
            levels[at], layers[at] = image[at], MARKER
            for step in steps:
                if state[at + step] == OPEN:
                    if head == sources.size:
                        sources = enlarged(sources, 0)
                    sources[head] = at
                    head += 1
                    break
    return sources[:head]


@compiled
def _by_bucket(levels: Array, sources: Array, low: float, scale: float, ends: Array) -> Array:
    """Return cells in the order of their buckets, and write where each bucket ends. Local."""
    for at in sources:
        ends[_bucket(levels[at], low, scale, ends.size)] += 1
    total = 0
    for bucket in range(ends.size):
        total, ends[bucket] = total + ends[bucket], total
    ordered = np.empty_like(sources)
    for at in sources:
        bucket = _bucket(levels[at], low, scale, ends.size)
        ordered[ends[bucket]] = at
        ends[bucket] += 1
    return ordered


@compiled
def flood(
    image: Array,
    levels: Array,
    layers: Array,
    state: Array,
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
    sources : cells, each once.
    steps : to the neighbors.
    low, scale, buckets : the bucket of a level, see `_bucket`.
    is_first : whether no other cells than the sources have been reached, which are owned ones.
    """
    heads, ends = np.full(buckets, LAST, layers.dtype), np.zeros(buckets, np.int64)
    ordered = _by_bucket(levels, sources, low, scale, ends)
    values, cells = np.empty(256, levels.dtype), np.empty(256, sources.dtype)
    queue = np.empty(256, sources.dtype)
    size = head = count = source = 0
    for bucket in range(buckets):
        while source < ends[bucket] or heads[bucket] != LAST:
            if source < ends[bucket]:
                at: Any = np.int64(ordered[source])
                source += 1
            else:
                at = LAST - 1 - np.int64(heads[bucket])
                heads[bucket] = layers[at]
                layers[at] = ENTRY
            if size == values.size:
                values, cells = enlarged(values, 0), enlarged(cells, 0)
            _push(values, cells, layers, size, levels[at], at)
            size += 1
        while size or count:
            if count:
                at = np.int64(queue[head])
                if size and values[0] == levels[at] and layers[cells[0]] < layers[at]:
                    at = np.int64(cells[0])
                    size -= 1
                    _drop(values, cells, layers, size)
                else:
                    head = (head + 1) & (queue.size - 1)
                    count -= 1
            else:
                at = np.int64(cells[0])
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
                    # Of a cell in a chain no layer is less than its own, and what stands there is less than all.
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
                    layers[there] = heads[other]
                    heads[other] = LAST - 1 - there


@compiled
def mend(
    image: Array,
    levels: Array,
    layers: Array,
    state: Array,
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
                    # Those that are listed have negative layers until all are.
                    if state[there] != CLOSED or layers[there] <= 0:
                        continue
                    rises = image[at] > levels[there]
                    level = image[at] if rises else levels[there]
                    layer = ENTRY if rises else layers[there] + STEP
                    if state[at] == OPEN or level < levels[at] or (level == levels[at] and layer < layers[at]):
                        layers[there] = -layers[there]
                        sources[count] = there
                        count += 1
            x += 1
            if x == low and not at_face[i]:
                x = max(x, length - high)
    for there in sources[:count]:
        layers[there] = -layers[there]
    return count


@compiled
def choose(levels: Array, layers: Array, state: Array, bases: Array, length: int, steps: Array, ties: Array) -> int:
    """Write the step to where each owned cell is reached from: the first neighbor of the least level and layer. Local.

    In the state of cells that are reached and no markers; returned is how many of them had more than one neighbor to
    choose from, which is written to `ties` unless that is empty.
    """
    tied = 0
    for i in range(bases.size):
        for x in range(length):
            at = bases[i] + x
            if state[at] != REACHED or layers[at] == MARKER:
                continue
            first, chosen, is_tie = at, 0, False
            for k in range(steps.size):
                there = at + steps[k]
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
                first, chosen, is_tie = there, k, False
            state[at] = STEPS + chosen
            if is_tie:
                tied += 1
                if ties.size:
                    ties[i * length + x] = True
    return tied


@compiled
def follow(state: Array, bases: Array, length: int, steps: Array, markers: int, roots: Array, beyond: Array) -> int:
    """Write to owned cells which root they come from: -1 - its number. Local.

    Numbers are 0 of what is not reached, then those of so many markers, in raster order, and of halo cells that owned
    ones are reached from, which `beyond` gets; returned is how many these are. `roots` is 0 before.
    """
    marker = count = 0
    for base in bases:
        for at in range(base, base + length):
            if state[at] < STEPS:
                marker += state[at] == REACHED
                roots[at] = -1 - marker if state[at] == REACHED else -1
                continue
            there = at + steps[state[at] - STEPS]
            roots[at] = there
            if state[there] == CLOSED and roots[there] == 0:
                beyond[count] = there
                count += 1
                roots[there] = -1 - markers - count
    for base in bases:
        for at in range(base, base + length):
            last = at
            while roots[last] >= 0:
                last = roots[last]
            way = at
            while way != last:
                after = roots[way]
                roots[way] = roots[last]
                way = after
    return count


@compiled
def paint(labels: Array, roots: Array, bases: Array, length: int, out: Array) -> None:
    """Write the labels of their roots, which have these numbers, to owned cells. Local."""
    for i in range(bases.size):
        for x in range(length):
            out[i * length + x] = labels[-1 - roots[bases[i] + x]]
