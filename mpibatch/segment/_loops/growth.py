"""Compiled loops of the reconstruction by dilation of one block: two sweeps, then a queue for what they left.

A sweep forth takes, for each cell, the largest value of the neighbors before it, limited by the mask; one back those of
the neighbors after it. What other rows pass on is taken for a whole row at a time, as vector code; only along the row
itself one cell waits for the other. After both sweeps a cell can be too low only if a neighbor before it grew in the
sweep back: these neighbors start in the queue (Vincent 1993, doi:10.1109/83.217222).

Halo cells have the lowest limit that there is, so that nothing ever writes to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.segment._loops.queues import enlarged

__all__ = ["grow", "regrow"]

Array = Any


@compiled
def _fold(kept: Array, new: Array) -> None:
    """Keep the larger of two rows. Local."""
    for x in range(kept.size):
        kept[x] = new[x] if new[x] > kept[x] else kept[x]


@compiled
def _limit(kept: Array, limits: Array) -> None:
    """Keep the smaller of two rows. Local."""
    for x in range(kept.size):
        kept[x] = limits[x] if limits[x] < kept[x] else kept[x]


@compiled
def _take(values: Array, limits: Array, base: int, length: int, others: Array, within: Array, is_forth: bool) -> None:
    """Let a row's cells take what neighbors in `others`, and those before them in the row, pass on. Local."""
    row = values[base : base + length]
    for step in others:
        _fold(row, values[base - step : base - step + length])
    if not within.size:
        _limit(row, limits[base : base + length])
    elif within.size == 1 and abs(within[0]) == 1:
        first = base if is_forth else base + length - 1
        turn = 1 if is_forth else -1
        carried = values[first - turn]
        for x in range(length):
            at = first + turn * x
            value = values[at]
            value = carried if carried > value else value
            most = limits[at]
            carried = most if most < value else value
            values[at] = carried
    else:
        for x in range(length):
            at = base + (x if is_forth else length - 1 - x)
            value = values[at]
            for step in within:
                value = values[at - step] if values[at - step] > value else value
            values[at] = limits[at] if limits[at] < value else value


@compiled
def _mark(row: Array, there: Array, limits: Array, marks: Array) -> None:
    """Mark the cells that a neighbor could still take something from. Local."""
    for x in range(row.size):
        marks[x] |= (there[x] < row[x]) & (there[x] < limits[x])


@compiled
def _spread(values: Array, limits: Array, steps: Array, queue: Array, count: int) -> None:
    """Let the cells in the queue pass on what they hold, and those that grew by it, until none grows. Local."""
    head = 0
    while count:
        at = queue[head]
        head = (head + 1) & (queue.size - 1)
        count -= 1
        value = values[at]
        for step in steps:
            there = at + step
            held = values[there]
            if held < value:
                most = limits[there]
                if held < most:
                    values[there] = most if most < value else value
                    if count == queue.size:
                        queue, head = enlarged(queue, head), 0
                    queue[(head + count) & (queue.size - 1)] = there
                    count += 1


@compiled
def grow(
    values: Array,
    limits: Array,
    bases: Array,
    length: int,
    steps: Array,
    forth: Array,
    back: Array,
    right: Array,
    left: Array,
) -> None:
    """Reconstruct a block's values from scratch, under `limits` of the same padded shape; all arrays flat. Local."""
    queue = np.empty(1024, np.int64)
    count = 0
    for base in bases:
        _take(values, limits, base, length, forth, right, True)
    before = np.empty(length, values.dtype)
    marks = np.empty(length, np.bool_)
    for i in range(bases.size - 1, -1, -1):
        base = bases[i]
        row = values[base : base + length]
        for x in range(length):
            before[x] = row[x]
        _take(values, limits, base, length, back, left, False)
        same = True
        for x in range(length):
            same &= row[x] == before[x]
        if same:
            continue
        marks[:] = False
        for step in forth:
            there = base + step
            _mark(row, values[there : there + length], limits[there : there + length], marks)
        for step in right:
            there = base + step
            _mark(row, values[there : there + length], limits[there : there + length], marks)
        for x in range(length):
            if marks[x]:
                if count == queue.size:
                    queue = enlarged(queue, 0)
                queue[count] = base + x
                count += 1
    _spread(values, limits, steps, queue, count)


@compiled
def regrow(
    values: Array, limits: Array, bases: Array, length: int, at_face: Array, low: int, high: int, steps: Array
) -> bool:
    """Go on after the halo has changed, and return whether any owned cell did; all arrays flat. Local."""
    queue = np.empty(1024, np.int64)
    count = 0
    for i in range(bases.size):
        x = 0
        while x < length:
            at = bases[i] + x
            held = values[at]
            value = held
            for step in steps:
                value = values[at - step] if values[at - step] > value else value
            value = limits[at] if limits[at] < value else value
            if value > held:
                values[at] = value
                if count == queue.size:
                    queue = enlarged(queue, 0)
                queue[count] = at
                count += 1
            x += 1
            if x == low and not at_face[i]:
                x = max(x, length - high)
    _spread(values, limits, steps, queue, count)
    return count > 0
