"""Exact order statistics of a Field of non-negative floats, without sorting or gathering it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.tally import REDUCTION
from mpibatch.filters._engine.parts import parts
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["order_statistic", "quantile"]

DIGIT = 16  # bits that one round of counting settles


def order_statistic(u: Field, rank: int) -> np.floating:
    """Return the element that has `rank` elements before it in ascending order, NaN last. Collective.

    Bit patterns of non-negative floats order as the numbers do. Each round counts the next 16 bits of those elements
    whose higher bits are settled: 2 (f4) or 4 (f8) all-reduces of 512 KiB.
    """
    keys = np.dtype(f"u{u.dtype.itemsize}")
    settled = 0
    for shift in range(8 * keys.itemsize - DIGIT, -1, -DIGIT):
        counts = np.zeros(1 << DIGIT, np.int64)
        for (part,) in parts(u.owned):
            key = np.ascontiguousarray(part).view(keys).reshape(-1)
            digits = (key >> keys.type(shift)).astype(np.int64)
            counts += np.bincount(digits[digits >> DIGIT == settled] & ((1 << DIGIT) - 1), minlength=1 << DIGIT)
        with REDUCTION:
            u.grid.comm.Allreduce(MPI.IN_PLACE, counts, op=MPI.SUM)
        until = np.cumsum(counts)
        digit = int(np.searchsorted(until, rank, side="right"))
        rank -= int(until[digit] - counts[digit])
        settled = settled << DIGIT | digit
    return np.array([settled], keys).view(u.dtype)[0]  # type: ignore[no-any-return]


def quantile(u: Field, fraction: float) -> np.floating:
    """Return a quantile of non-negative floats, equal to ``np.percentile(array, 100 * fraction)``. Collective."""
    last = math.prod(u.shape) - 1
    # The detour by per cent rounds, and so moves the place.
    place = last * (100.0 * fraction / 100.0)
    greatest = order_statistic(u, last)
    if np.isnan(greatest) or place >= last:
        return np.float64(greatest)
    low = int(place)
    a, b, part = order_statistic(u, low), order_statistic(u, low + 1), np.float64(place - low)
    between: np.floating = b - (b - a) * (1 - part) if part >= 0.5 else a + (b - a) * part
    return np.float64(between)
