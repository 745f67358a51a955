"""Compiled loops over plateaus: connected cells of one value, of which each knows what any of them does.

The state of a cell: 0 open, 1 reached, 2 closed (neither takes part nor belongs to this block).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["exceeded", "reach"]

Array = Any


@compiled
def _fold(kept: Array, new: Array) -> None:
    """Keep the larger of two rows. Local."""
    for x in range(kept.size):
        kept[x] = new[x] if new[x] > kept[x] else kept[x]


@compiled
def _compare(highest: Array, row: Array, state: Array) -> None:
    """Mark the cells of a row that those of another exceed, and no others. Local."""
    for x in range(row.size):
        state[x] = highest[x] > row[x]


@compiled
def exceeded(cells: Array, state: Array, bases: Array, length: int, steps: Array) -> None:
    """Set the state of owned cells to whether a neighbor is higher; all arrays flat. Local."""
    highest = np.empty(length, cells.dtype)
    for base in bases:
        row = cells[base : base + length]
        highest[:] = row
        for step in steps:
            _fold(highest, cells[base + step : base + step + length])
        _compare(highest, row, state[base : base + length])


@compiled
def _has_open(state: Array) -> bool:
    """Whether any cell of a row is open. Local."""
    any_open = False
    for x in range(state.size):
        any_open |= state[x] == 0
    return any_open


@compiled
def reach(
    cells: Array,
    state: Array,
    bases: Array,
    length: int,
    at_face: Array,
    low: int,
    high: int,
    steps: Array,
    is_first: bool,
) -> bool:
    """Let 1 spread over open cells of equal value, and return whether any became 1; all arrays flat. Local.

    After the first time only the cells at a face of the block can have new neighbors.
    """
    stack = np.empty(1024, np.int64)
    ever = False
    for i in range(bases.size):
        if not _has_open(state[bases[i] : bases[i] + length]):
            continue
        x = 0
        while x < length:
            first = bases[i] + x
            if state[first] == 0:
                for step in steps:
                    there = first + step
                    if state[there] == 1 and cells[there] == cells[first]:
                        state[first] = 1
                        break
                if state[first] == 1:
                    ever = True
                    stack[0] = first
                    count = 1
                    while count:
                        count -= 1
                        at = stack[count]
                        if count + steps.size > stack.size:
                            more = np.empty(2 * stack.size + steps.size, np.int64)
                            more[:count] = stack[:count]
                            stack = more
                        for step in steps:
                            there = at + step
                            if state[there] == 0 and cells[there] == cells[at]:
                                state[there] = 1
                                stack[count] = there
                                count += 1
            x += 1
            if x == low and not at_face[i] and not is_first:
                x = max(x, length - high)
    return ever
