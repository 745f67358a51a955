"""Which labels occur in a block, how often, and what stands in their place: by runs of equal labels, in a hash table.

Label 0 is in none of the tables (there 0 marks what is free); it has slot 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.measure._loops.regions import place_of

__all__ = ["count", "put"]

Array = Any
Int = Any


@compiled
def count(cells: Array, begin: Int, used: Int, keys: Array, slots: Array, labels: Array, counts: Array) -> Any:
    """Count cells from `begin` on as long as there is room for labels; return the next cell, and slots in use. Local.

    No label is negative.
    """
    at = begin
    while at < cells.shape[0]:
        label = np.int64(cells[at])
        start = at
        at += 1
        while at < cells.shape[0] and cells[at] == label:
            at += 1
        slot = np.int64(0)
        if label != 0:
            place = place_of(keys, label)
            if keys[place] == 0:
                if used == labels.shape[0]:
                    return start, used
                keys[place] = label
                slots[place] = used
                labels[used] = label
                used += 1
            slot = slots[place]
        counts[slot] += at - start
    return at, used


@compiled
def put(cells: Array, keys: Array, slots: Array, table: Array, out: Array) -> None:
    """Write what the table has for the slot of each cell's label. Local."""
    at = 0
    while at < cells.shape[0]:
        label = np.int64(cells[at])
        new = table[slots[place_of(keys, label)] if label != 0 else 0]
        out[at] = new
        at += 1
        while at < cells.shape[0] and cells[at] == label:
            out[at] = new
            at += 1
