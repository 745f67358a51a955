"""Compiled counts in sorted parts of an array: how many entries are not above a pivot, and which comes next."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["count_up_to"]

Array = Any


@compiled
def count_up_to(keys: Array, starts: Array, stops: Array, pivots: Array, counts: Array, after: Array) -> None:
    """Write for each part how many keys are at most its pivots, and the least above the last, or the greatest number.

    Part k is ``keys[starts[k] : stops[k]]``, and its pivots the row k. Local.
    """
    for k in range(starts.size):
        low = starts[k]
        for p in range(pivots.shape[1]):
            high = stops[k]
            while low < high:
                middle = (low + high) >> 1
                if keys[middle] <= pivots[k, p]:
                    low = middle + 1
                else:
                    high = middle
            counts[k, p] = low - starts[k]
        after[k] = keys[low] if low < stops[k] else np.iinfo(np.int64).max
