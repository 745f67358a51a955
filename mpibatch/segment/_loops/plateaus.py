"""Compiled loops over plateaus: connected cells of one value, of which each knows what any of them does.

The state of a cell: 0 open, 1 reached, 2 closed (it does not belong to this block), 3 alone (no neighbor is its equal).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["exceeded", "reach"]

Array = Any
PART = 64  # cells of a row
CACHED = 1024  # those whose neighbors a core keeps in its first caches


@compiled
def _fold(kept: Array, new: Array) -> None:
    """Keep the larger of two rows. Local."""
    for x in range(kept.size):
        kept[x] = new[x] if new[x] > kept[x] else kept[x]


@compiled
def _fold_three(kept: Array, row: Array) -> None:
    """Keep the largest of three cells of a row, which begins one before the kept ones. Local."""
    for x in range(kept.size):
        low, middle, high = row[x], row[x + 1], row[x + 2]
        value = kept[x]
        value = low if low > value else value
        value = middle if middle > value else value
        kept[x] = high if high > value else value


@compiled
def _compare(highest: Array, row: Array, floor: Any, state: Array) -> None:
    """Set the state of a row's cells by the highest of their neighbors. Local."""
    for x in range(row.size):
        is_reached = (highest[x] > row[x]) | (row[x] == floor)
        state[x] = 1 if is_reached else 3 if highest[x] < row[x] else 0


@compiled
def exceeded(
    cells: Array, state: Array, bases: Array, length: int, rows: Array, steps: Array, least: Any, floor: Any
) -> None:
    """Set the state of owned cells: reached where a neighbor is higher, or at the floor; all arrays flat. Local.

    Cells above all neighbors are alone, so that only plateaus of two cells and more stay open.

    rows : offsets of the rows of which three cells are neighbors.
    steps : those of other neighbors.
    least : no value is less.
    floor : NaN if there is none.
    """
    highest, around = np.empty(CACHED, cells.dtype), np.empty(CACHED + 2, cells.dtype)
    for first in bases:
        for base in range(first, first + length, CACHED):
            size = min(CACHED, first + length - base)
            row, best = cells[base : base + size], highest[:size]
            best[:] = least  # and never NaN, which is no more than anything
            if rows.size:
                near = around[: size + 2]
                near[:] = least
                for step in rows:
                    _fold(near, cells[base - 1 + step : base + 1 + step + size])
                _fold_three(best, near)
            for step in steps:
                _fold(best, cells[base + step : base + step + size])
            _compare(best, row, floor, state[base : base + size])


@compiled
def _has_open(state: Array) -> bool:
    """Whether any of some cells is open. Local."""
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
        # Few cells are open: most parts of a row are passed by.
        for begin in range(0, length, PART):
            end = min(begin + PART, length)
            if not _has_open(state[bases[i] + begin : bases[i] + end]):
                continue
            for x in range(begin, end):
                first = bases[i] + x
                if state[first] != 0 or (not is_first and not at_face[i] and low <= x < length - high):
                    continue
                for step in steps:
                    there = first + step
                    if state[there] == 1 and cells[there] == cells[first]:
                        state[first] = 1
                        break
                if state[first] == 0:
                    continue
                ever = True
                stack[0] = first
                count = 1
                while count:
                    count -= 1
                    at = stack[count]
                    if count + steps.size > stack.size:
                        more = np.empty(2 * stack.size + steps.size, np.int64)
                        for k in range(count):
                            more[k] = stack[k]
                        stack = more
                    for step in steps:
                        there = at + step
                        if state[there] == 0 and cells[there] == cells[at]:
                            state[there] = 1
                            stack[count] = there
                            count += 1
    return ever
