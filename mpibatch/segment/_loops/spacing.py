"""Compiled loop of the choice among peaks that are too close: the first in order stays, and what conflicts goes.

The state of a cell: 0 no peak, 1 undecided, 2 kept, 3 dropped.
"""

from __future__ import annotations

from typing import Any

from mpibatch.base.compiled import compiled

__all__ = ["decide"]

Array = Any


@compiled
def decide(cells: Array, state: Array, places: Array, order: Array, steps: Array) -> int:
    """Decide what can be decided, and return how many were; arrays flat, places of peaks the best first. Local.

    cells: values. order: for each cell its global raster index, of which the least wins among equal values; empty where
    the cells of the block are in that order. A peak is kept if every better one that conflicts with it is dropped, and
    dropped if one of them is kept.
    """
    decided = 0
    for at in places:
        if state[at] != 1:
            continue
        verdict = 2
        for step in steps:
            there = at + step
            if state[there] == 0 or state[there] == 3:
                continue
            is_before = order[there] < order[at] if order.size else there < at
            if cells[there] > cells[at] or (cells[there] == cells[at] and is_before):
                if state[there] == 2:
                    verdict = 3
                    break
                verdict = 1
        if verdict != 1:
            state[at] = verdict
            decided += 1
    return decided
