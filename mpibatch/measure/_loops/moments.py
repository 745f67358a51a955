"""Compiled sums of products of powers 0 to 3 of the coordinates within a tile, for each label: whole numbers.

Entry ``4 * (4 * p + q) + r`` of three axes is the sum of z^p y^q x^r. Tiles are so small that nothing overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled
from mpibatch.measure._loops.regions import FRACTION, HIDDEN, LOW31, carry, deposit, move, place_of

__all__ = ["moments", "weighted"]

Array = Any
Int = Any


@compiled
def _outer_products(at: Array, axes: Int, factors: Array) -> None:
    """Write the products of powers of all coordinates but the last. Local."""
    for c in range(factors.size):
        rest, product = c, np.int64(1)
        for a in range(axes - 1):
            for _ in range(rest & 3):
                product *= at[2 - a]
            rest >>= 2
        factors[c] = product


@compiled
def moments(
    flat: Array, outer: Array, strides: Array, n: Int, keys: Array, slots: Array, axes: Int, sums: Array
) -> None:
    """Add the cells of each label to its sums; labels are in the table. Local."""
    factors = np.empty(sums.shape[1] // 4, np.int64)
    at, powers = np.zeros(3, np.int64), np.empty(4, np.int64)
    for row in range(outer[0] * outer[1] * outer[2]):
        at[0], at[1], at[2] = row // (outer[1] * outer[2]), row // outer[2] % outer[1], row % outer[2]
        base = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2]
        _outer_products(at, axes, factors)
        x = 0
        while x < n:
            label = np.int64(flat[base + x])
            if label <= 0:
                x += 1
                continue
            powers[:] = 0
            while x < n and flat[base + x] == label:
                powers[0] += 1
                powers[1] += x
                powers[2] += x * x
                powers[3] += x * x * x
                x += 1
            slot = slots[place_of(keys, label)]
            for c in range(factors.size):
                for k in range(4):
                    sums[slot, 4 * c + k] += factors[c] * powers[k]


@compiled
def weighted(
    flat: Array, outer: Array, strides: Array, n: Int, values: Array, value_strides: Array, keys: Array, slots: Array,
    is_float: Int, dropped: Int, least: Int, axes: Int, sums: Array,
) -> None:  # fmt: skip
    """Add the cells of each label, times their values, to the limbs of its sums; see `regions.intensity`. Local."""
    factors = np.empty(sums.shape[1] // 4, np.int64)
    at, run = np.zeros(3, np.int64), np.zeros((4, sums.shape[2]), np.int64)
    for row in range(outer[0] * outer[1] * outer[2]):
        at[0], at[1], at[2] = row // (outer[1] * outer[2]), row // outer[2] % outer[1], row % outer[2]
        base = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2]
        base_there = at[0] * value_strides[0] + at[1] * value_strides[1] + at[2] * value_strides[2]
        _outer_products(at, axes, factors)
        x = 0
        while x < n:
            label = np.int64(flat[base + x])
            if label <= 0:
                x += 1
                continue
            run[:] = 0
            while x < n and flat[base + x] == label:
                value = values[base_there + x]
                offset, sign, third = np.int64(0), np.int64(1), np.int64(0)
                if is_float == 1:
                    bits = np.float64(value).view(np.int64)
                    exponent = (bits >> 52) & 2047
                    amount = bits & FRACTION if exponent != 2047 else np.int64(0)
                    if 0 < exponent < 2047:
                        amount |= HIDDEN
                    amount >>= dropped
                    offset = max(exponent, 1) - least if amount != 0 else np.int64(0)
                    first, second = amount & LOW31, amount >> 31
                    sign = 1 - 2 * ((bits >> 63) & 1)
                else:
                    if value < 0:
                        sign = np.int64(-1)
                    size = np.uint64(value) if value >= 0 else np.uint64(0) - np.uint64(value)
                    first = np.int64(size & np.uint64(LOW31))
                    second = np.int64((size >> np.uint64(31)) & np.uint64(LOW31))
                    third = np.int64(size >> np.uint64(62))
                power = sign
                for k in range(4):
                    deposit(run[k], first * power, offset)
                    deposit(run[k], second * power, offset + 31)
                    if third != 0:
                        deposit(run[k], third * power, offset + 62)
                    power *= x
                x += 1
            slot = slots[place_of(keys, label)]
            for k in range(4):
                carry(run[k])
                for c in range(factors.size):
                    move(run[k], sums[slot, 4 * c + k], factors[c])
