"""The compiled loops that count values into bins. Imported late, since this loads numba."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["cells", "count_edges", "count_uniform", "tally"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Of a table of 8-byte integers that is to stay in a core's L2 cache.
MOST_CELLS = 1 << 15


@compiled
def tally(part: Array, times: Ints) -> None:
    """Count how often each value of an unsigned integer type occurs. Local."""
    for i in range(part.shape[0]):
        times[part[i]] += 1


@compiled
def count_uniform(part: Array, edges: Array, counts: Ints) -> None:
    """Count elements into nearly equal bins [edges[i], edges[i + 1]), the last one closed. Local.

    Only the edges decide; the division merely says where to begin looking.
    """
    unit = np.uint64(1)
    last = np.uint64(counts.shape[0] - 1)
    first_edge, last_edge = edges[0], edges[counts.shape[0]]
    scale = counts.shape[0] / (last_edge - first_edge)
    for i in range(part.shape[0]):
        value = np.float64(part[i])
        if value >= first_edge and value <= last_edge:
            at = min(np.uint64(np.int64((value - first_edge) * scale)), last)
            while value < edges[at]:
                at -= unit
            while at < last and value >= edges[at + unit]:
                at += unit
            counts[at] += 1


@compiled
def count_edges(part: Array, edges: Array, counts: Ints, scale: float, below: Ints) -> None:
    """Count elements into bins [edges[i], edges[i + 1]), the last one closed, with the table of `cells`. Local."""
    unit = np.uint64(1)
    last_cell = np.uint64(below.shape[0] - 2)
    first_edge, last_edge = edges[0], edges[counts.shape[0]]
    for i in range(part.shape[0]):
        value = np.float64(part[i])
        if value >= first_edge and value <= last_edge:
            place = min(np.uint64(np.int64((value - first_edge) * scale)), last_cell)
            # The bin begins at an edge that is not above the value: the last one before the cell, or one within.
            low = np.uint64(max(below[place], 1) - 1)
            high = np.uint64(below[place + unit])
            while high - low > unit:
                middle = (low + high) >> unit
                if value >= edges[middle]:
                    low = middle
                else:
                    high = middle
            counts[low] += 1


def cells(edges: npt.NDArray[np.float64]) -> tuple[float, Ints]:
    """Return a scale, and for each of many equal cells how many bins begin in cells before it. Local.

    ``(value - edges[0]) * scale`` is a value's cell. It grows with the value, rounding included, so that an edge in
    a lower (higher) cell lies below (above) the value: few edges are left to look at.
    """
    starts, width = edges[:-1], float(edges[-1]) - float(edges[0])
    number = min(16 * starts.size, MOST_CELLS)
    scale = number / width if width else 0.0
    if not 0 < scale < math.inf or not math.isfinite(width):
        scale = 0.0  # all in the first cell
    home = np.minimum(((starts - starts[0]) * scale).astype(np.int64), number - 1)
    return scale, np.searchsorted(home, np.arange(number + 1)).astype(np.int64)
