"""Compiled counts in sorted parts of an array: how many entries are not above a pivot, and which comes next."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["count_up_to"]

Array = Any


@compiled
def count_up_to(keys: Array, starts: Array, pivots: Array, counts: Array, after: Array) -> None:
    """Write for each part how many keys are at most its pivot, and the least above it, else the greatest number. Local.

    Part k is ``keys[starts[k] : starts[k + 1]]``.
    """
    for k in range(pivots.size):
        low, high = starts[k], starts[k + 1]
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] <= pivots[k]:
                low = middle + 1
            else:
                high = middle
        counts[k] = low - starts[k]
        after[k] = keys[low] if low < starts[k + 1] else np.iinfo(np.int64).max
