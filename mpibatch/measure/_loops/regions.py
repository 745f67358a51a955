"""What is known of each label in a block, by runs of equal labels: whole numbers that add up, and extremes.

Coordinates are those within the block, which is small enough for its sums of products to stay below 2**62. Sums of
values are kept as limbs of 32 bits over just the binary places that values have (see `mpibatch.measure._engine.words`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["MINUS", "NAN", "PLUS", "geometry", "intensity", "rehash", "span"]

Array = Any
Int = Any

LOW32 = 0xFFFFFFFF
LOW31 = 0x7FFFFFFF
FRACTION = 0xFFFFFFFFFFFFF
HIDDEN = 0x10000000000000
GOLDEN = 0x9E3779B97F4A7C1  # spreads labels over the places of a table
# Columns of marks for what is no finite number.
NAN, PLUS, MINUS = 0, 1, 2


@compiled
def place_of(keys: Array, label: Int) -> Int:
    """Return where a label stands in a table of 2**k keys, or the free place where it belongs. Local."""
    mask = keys.shape[0] - 1
    place = ((label * GOLDEN) >> 24) & mask
    while keys[place] != 0 and keys[place] != label:
        place = (place + 1) & mask
    return place


@compiled
def rehash(labels: Array, keys: Array, slots: Array) -> None:
    """Enter labels, and which they are, into an empty table. Local."""
    for slot in range(labels.shape[0]):
        place = place_of(keys, labels[slot])
        keys[place] = labels[slot]
        slots[place] = slot


@compiled
def geometry(
    flat: Array, outer: Array, strides: Array, n: Int, begin: Int, count: Int,
    keys: Array, slots: Array, labels: Array, sums: Array, ends: Array, axes: Int, order: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """Add rows from `begin` on to what is known of the labels, as long as there is room for new ones. Local.

    Returns the row that is next, and how many labels there are. `sums` are of 1, of each coordinate, and, if `order` is
    2, of each product of two; `ends` the greatest of each negative coordinate, then of each coordinate.
    """
    at = np.zeros(3, np.int64)
    for row in range(begin, outer[0] * outer[1] * outer[2]):
        if count + n > labels.shape[0]:
            return row, count
        at[0] = row // (outer[1] * outer[2])
        at[1] = row // outer[2] % outer[1]
        at[2] = row % outer[2]
        base = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2]
        known = np.int64(0)
        slot = np.int64(0)
        x = 0
        while x < n:
            label = np.int64(flat[base + x])
            if label <= 0:
                x += 1
                continue
            start = x
            x += 1
            while x < n and flat[base + x] == label:
                x += 1
            if label != known:
                known = label
                place = place_of(keys, label)
                if keys[place] == 0:
                    keys[place] = label
                    slots[place] = count
                    labels[count] = label
                    count += 1
                slot = slots[place]
            cells = np.int64(x - start)
            along = (start + x - 1) * cells // 2
            sums[slot, 0] += cells
            for a in range(axes - 1):
                y = at[4 - axes + a]
                sums[slot, 1 + a] += cells * y
                ends[slot, a] = max(ends[slot, a], -y)
                ends[slot, axes + a] = max(ends[slot, axes + a], y)
            sums[slot, axes] += along
            ends[slot, axes - 1] = max(ends[slot, axes - 1], -start)
            ends[slot, 2 * axes - 1] = max(ends[slot, 2 * axes - 1], x - 1)
            if order == 2:
                c = 1 + axes
                for a in range(axes - 1):
                    y = at[4 - axes + a]
                    for b in range(a, axes - 1):
                        sums[slot, c] += cells * y * at[4 - axes + b]
                        c += 1
                    sums[slot, c] += y * along
                    c += 1
                last, first = np.int64(x), np.int64(start)
                squares = (last - 1) * last * (2 * last - 1) // 6 - (first - 1) * first * (2 * first - 1) // 6
                sums[slot, c] += squares
    return outer[0] * outer[1] * outer[2], count


@compiled
def span(flat: Array, strides: Array, outer: Array, n: Int) -> tuple[Int, Int]:
    """Return the least and the greatest biased exponent of finite values that are not zero, (2047, 0) if none. Local.

    Subnormal ones count as 1.
    """
    least, greatest = np.int64(2047), np.int64(0)
    for row in range(outer[0] * outer[1] * outer[2]):
        base = (
            row // (outer[1] * outer[2]) * strides[0] + row // outer[2] % outer[1] * strides[1]
            + row % outer[2] * strides[2]
        )  # fmt: skip
        for x in range(n):
            bits = np.float64(flat[base + x]).view(np.int64) & 0x7FFFFFFFFFFFFFFF
            exponent: Int = max(bits >> 52, 1)
            if bits != 0 and exponent < 2047:
                least = min(least, exponent)
                greatest = max(greatest, exponent)
    return least, greatest


@compiled
def deposit(limbs: Array, amount: Int, offset: Int) -> None:
    """Add ``amount * 2**offset``, of at most 2**62 either way before the shift. Local."""
    limb = offset >> 5
    shift = offset & 31
    low = (amount & LOW32) << shift
    high = (amount >> 32) << shift
    limbs[limb] += low & LOW32
    limbs[limb + 1] += (low >> 32) + (high & LOW32)
    limbs[limb + 2] += high >> 32


@compiled
def carry(limbs: Array) -> None:
    """Bring all limbs but the last into 0 ... 2**32 - 1. Local."""
    for i in range(limbs.shape[0] - 1):
        limbs[i + 1] += limbs[i] >> 32
        limbs[i] &= LOW32


@compiled
def move(source: Array, target: Array, factor: Int) -> None:
    """Add carried limbs times a number below 2**30 to others. Local."""
    for i in range(source.shape[0]):
        target[i] += source[i] * factor
    carry(target)


@compiled
def intensity(
    flat: Array, outer: Array, strides: Array, n: Int, values: Array, value_strides: Array, keys: Array, slots: Array,
    is_float: Int, dropped: Int, least: Int, axes: Int, totals: Array, moments: Array, squares: Array, extremes: Array,
    marks: Array,
) -> None:  # fmt: skip
    """Add the values of each label's cells to its limbs, in units of the lowest binary place of all. Local.

    Parameters
    ----------
    flat, outer, strides, n : labels, as for `geometry`, which has entered them in `keys` and `slots`.
    values, value_strides : as `flat` and `strides`.
    is_float, dropped, least : whether values are floats; how many of the 52 places behind their point are zero; and
        the least biased exponent.
    totals, moments, squares : limbs of the sums of values, of values times each coordinate, of squares; without rows
        where they are not needed.
    extremes, marks : the least and greatest value, and whether there was NaN, infinity, or minus infinity.
    """
    has_totals, has_moments, has_squares = totals.shape[0] > 0, moments.shape[0] > 0, squares.shape[0] > 0
    total = np.zeros(totals.shape[1], np.int64)
    moment = np.zeros(moments.shape[2], np.int64)
    square = np.zeros(squares.shape[1], np.int64)
    at = np.zeros(3, np.int64)
    for row in range(outer[0] * outer[1] * outer[2]):
        at[0] = row // (outer[1] * outer[2])
        at[1] = row // outer[2] % outer[1]
        at[2] = row % outer[2]
        base = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2]
        base_there = at[0] * value_strides[0] + at[1] * value_strides[1] + at[2] * value_strides[2]
        x = 0
        while x < n:
            label = np.int64(flat[base + x])
            if label <= 0:
                x += 1
                continue
            slot = slots[place_of(keys, label)]
            low, high = extremes[slot, 0], extremes[slot, 1]
            while x < n and flat[base + x] == label:
                value = values[base_there + x]
                number = np.float64(value) + 0.0
                low = min(low, number) if number == number else low
                high = max(high, number) if number == number else high
                if not has_totals:
                    if number != number:
                        marks[slot, NAN] = 1
                    x += 1
                    continue
                offset = np.int64(0)
                if is_float == 1:
                    bits = np.float64(value).view(np.int64)
                    exponent = (bits >> 52) & 2047
                    if exponent == 2047:
                        marks[slot, NAN if number != number else PLUS if bits > 0 else MINUS] = 1
                        x += 1
                        continue
                    amount = bits & FRACTION
                    if exponent != 0:
                        amount |= HIDDEN
                    amount >>= dropped
                    offset = max(exponent, 1) - least if amount != 0 else np.int64(0)
                    first, second = amount & LOW31, amount >> 31
                    third = np.int64(0)
                    sign = 1 - 2 * ((bits >> 63) & 1)
                else:
                    sign = np.int64(1)
                    if value < 0:
                        sign = np.int64(-1)
                    size = np.uint64(value) if value >= 0 else np.uint64(0) - np.uint64(value)
                    first = np.int64(size & np.uint64(LOW31))
                    second = np.int64((size >> np.uint64(31)) & np.uint64(LOW31))
                    third = np.int64(size >> np.uint64(62))
                deposit(total, sign * first, offset)
                deposit(total, sign * second, offset + 31)
                if third != 0:
                    deposit(total, sign * third, offset + 62)
                if has_moments:
                    deposit(moment, sign * first * x, offset)
                    deposit(moment, sign * second * x, offset + 31)
                    if third != 0:
                        deposit(moment, sign * third * x, offset + 62)
                if has_squares:
                    deposit(square, first * first, 2 * offset)
                    deposit(square, first * second, 2 * offset + 32)
                    deposit(square, second * second, 2 * offset + 62)
                    if third != 0:
                        deposit(square, first * third, 2 * offset + 63)
                        deposit(square, second * third, 2 * offset + 94)
                        deposit(square, third * third, 2 * offset + 124)
                x += 1
            extremes[slot, 0], extremes[slot, 1] = low, high
            if not has_totals:
                continue
            carry(total)
            move(total, totals[slot], 1)
            if has_moments:
                for a in range(axes - 1):
                    move(total, moments[slot, a], at[4 - axes + a])
                carry(moment)
                move(moment, moments[slot, axes - 1], 1)
                moment[:] = 0
            if has_squares:
                carry(square)
                move(square, squares[slot], 1)
                square[:] = 0
            total[:] = 0
