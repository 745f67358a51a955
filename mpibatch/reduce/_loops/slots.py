"""The compiled loop of exact sums of elements in any order, each for its slot. Imported late, since it loads numba.

A slot is a row of a table of states (see `states`); -1 is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact_sums import INFINITY, MAGNITUDE
from mpibatch.reduce._loops.expansions import two_product, two_sum
from mpibatch.reduce._loops.states import COUNT, LEVELS, SPECIAL, SQUARES, SUMS, WIDE

__all__ = ["add_values", "counts_in", "push"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Int = Any


@compiled
def push(state: Array, slot: Int, first: Int, value: float) -> None:
    """Add to an expansion. Local."""
    for level in range(first, first + LEVELS):
        state[slot, level], value = two_sum(state[slot, level], value)
        if value == 0.0:
            return
    state[slot, WIDE] = 1.0


@compiled
def counts_in(state: Array, slot: Int, value: float, limits: tuple[Int, Int]) -> bool:
    """Count a value, and return whether it may be added to expansions. Local.

    Magnitudes from the bits of the second limit on are too large, and below those of the first too small.
    """
    bottom, top = limits
    bits = np.float64(value).view(np.int64) & MAGNITUDE
    state[slot, COUNT] += 1.0
    if bits >= INFINITY:
        state[slot, SPECIAL] += value
        return False
    if bits >= top or (bits != 0 and bits < bottom):
        state[slot, WIDE] = 1.0
        return False
    return True


@compiled
def add_values(values: Array, slots: Ints, limits: tuple[Int, Int], has_squares: bool, state: Array) -> None:
    """Add values, and their squares, to the states of their slots, one in each row; for limits see above. Local."""
    for i in range(values.shape[0]):
        slot = slots[i]
        if slot < 0:
            continue
        value = values[i]
        if counts_in(state, slot, value, limits):
            push(state, slot, SUMS, value)
            if has_squares:
                high, low = two_product(value, value)
                push(state, slot, SQUARES, high)
                push(state, slot, SQUARES, low)
