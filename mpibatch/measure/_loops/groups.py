"""The compiled loops of what is known of the values of each label. Imported late, since they load numba.

`slots` say which row of a table a cell belongs to; -1: to none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact_sums import MAGNITUDE
from mpibatch.reduce._loops.expansions import SPLITTER, append, ratio, two_product, two_sum
from mpibatch.reduce._loops.slots import counts_in, push
from mpibatch.reduce._loops.states import COUNT, LEVELS, SPECIAL, SQUARES, SUMS

__all__ = ["add_moments", "count_digits", "find_extremes", "find_slots"]
__all__ += ["finish_centers", "float_keys", "pick_all", "put_keys"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Int = Any

LEAST_INTEGER = -(1 << 63)
# Quotients beyond this, or its inverse, are not rounded from expansions, since a product's error could underflow.
LEAST = 2.0**-60
FAR = 1 << 26  # numbers of so many bits have exact products with halves of doubles


@compiled
def find_slots(labels: Ints, low: Int, table: Ints, slots: Ints) -> None:
    """Look up labels from `low` on in a table of slots. Local."""
    size = np.uint64(table.shape[0])
    for i in range(labels.shape[0]):
        at = np.uint64(labels[i] - low)
        slots[i] = table[at] if at < size else -1


@compiled
def add_row(state: Array, slot: Int, at: Ints, far: Int, value: float) -> None:
    """Add what the cells of a row sum up to, and its products with all coordinates, the last of which is `far`."""
    if value == 0.0:
        return
    push(state, slot, SUMS, value)
    last = at.shape[0] - 1
    for axis in range(at.shape[0]):
        by = far if axis == last else at[axis]
        if by != 0:
            high, low = two_product(value, np.float64(by))
            push(state, slot, SQUARES + LEVELS * axis, high)
            if low != 0.0:
                push(state, slot, SQUARES + LEVELS * axis, low)


@compiled
def add_moments(
    values: Array, slots: Ints, limits: tuple[Int, Int], at: Ints, start: Ints, stop: Ints, state: Array
) -> None:
    """Add values, and their products with each coordinate, to the states of their slots. Local.

    `at` holds the coordinates of the first value, and afterwards those of the next; they go through a box in C order.
    """
    bottom, top = limits
    last, i, size = at.shape[0] - 1, 0, values.shape[0]
    while i < size:
        # Cells of one slot in a row, whose other coordinates are the same: their sums stay in registers.
        slot, begin, end = slots[i], i, min(size, i + stop[last] - at[last])
        # Coordinates that are too large are counted from the row's first.
        far = at[last] if stop[last] > FAR else 0
        x = np.float64(at[last] - far)
        while slot < 0 and i < end and slots[i] < 0:
            i += 1
        odd = 0
        sum0 = sum1 = high0 = high1 = low0 = low1 = 0.0
        while i < end and slots[i] == slot:
            value = np.float64(values[i])
            bits = value.view(np.int64) & MAGNITUDE
            if bottom <= bits < top or bits == 0:
                sum0, rest = two_sum(sum0, value)
                sum1, rest = two_sum(sum1, rest)
                if rest != 0.0:
                    add_row(state, slot, at, far, rest)
                # Halves of 26 bits, whose products with coordinates of as many are exact.
                scaled = SPLITTER * value
                half = scaled - (scaled - value)
                high0, rest = two_sum(high0, half * x)
                high1, rest = two_sum(high1, rest)
                if rest != 0.0:
                    push(state, slot, SQUARES + LEVELS * last, rest)
                low0, rest = two_sum(low0, (value - half) * x)
                low1, rest = two_sum(low1, rest)
                if rest != 0.0:
                    push(state, slot, SQUARES + LEVELS * last, rest)
            else:
                counts_in(state, slot, value, limits)
                odd += 1
            x += 1.0
            i += 1
        if slot >= 0:
            state[slot, COUNT] += i - begin - odd
            add_row(state, slot, at, far, sum0)
            add_row(state, slot, at, far, sum1)
            high0, rest = two_sum(high0, low0)  # fewer come out than went in, for most rows
            high1, rest = two_sum(high1, rest)
            for part in (high0, high1, rest, low1):
                if part != 0.0:
                    push(state, slot, SQUARES + LEVELS * last, part)
        at[last] += i - begin
        for axis in range(last, -1, -1):
            if at[axis] < stop[axis]:
                break
            at[axis] = start[axis]
            if axis:
                at[axis - 1] += 1


@compiled
def finish_centers(state: Array, out: Array, doubtful: Array) -> None:
    """Divide moments by sums, rows for labels, which are the columns of `state`; mark what is to be done otherwise."""
    partials, scratch = np.empty(64), np.empty(64)
    for i in range(out.shape[0]):
        if state[SPECIAL, i] != 0.0 or state[COUNT, i] == 0.0:
            out[i] = np.nan
            continue
        divisor = state[SUMS : SUMS + LEVELS, i].copy()
        n = 0
        for level in range(LEVELS):
            n = append(partials, n, divisor[level])
        if n == 0:
            doubtful[i] = True
            continue
        for axis in range(out.shape[1]):
            n = 0
            for level in range(LEVELS):
                n = append(partials, n, state[SQUARES + LEVELS * axis + level, i])
            # Adding 0 turns -0.0 into 0.0.
            out[i, axis] = ratio(partials, n, divisor, scratch) + 0.0
            if n > 0 and not LEAST < abs(out[i, axis]) < 1.0 / LEAST:
                doubtful[i] = True


@compiled
def float_keys(values: Array, keys: Keys) -> None:
    """Write keys that order as f8 values do, NaN last of all, and zeros equal. Local."""
    for i in range(values.shape[0]):
        # Adding 0 turns -0.0 into 0.0.
        bits = np.float64(values[i] + 0.0).view(np.int64)
        key = bits ^ ((bits >> 63) | LEAST_INTEGER)
        keys[i] = np.uint64(-1) if values[i] != values[i] else np.uint64(key)


@compiled
def find_extremes(keys: Keys, slots: Ints, first: Int, has_nan: bool, tables: Keys, places: Ints) -> None:
    """Note the least and the greatest key of each slot, and the place of the first of each. Local.

    `first` is the place of the first key. The first row of `tables` holds the complement of the least key, but of NaN
    the last key in both rows; `places` are -1 where nothing has been met.
    """
    last = np.uint64(-1)
    for i in range(keys.shape[0]):
        slot = slots[i]
        if slot >= 0:
            key = keys[i]
            reverse = key if has_nan and key == last else ~key
            if places[0, slot] < 0 or reverse > tables[0, slot]:
                tables[0, slot] = reverse
                places[0, slot] = first + i
            if places[1, slot] < 0 or key > tables[1, slot]:
                tables[1, slot] = key
                places[1, slot] = first + i


@compiled
def put_keys(keys: Keys, slots: Ints, ends: Ints, out: Keys) -> None:
    """Append keys to the segments of their slots, whose ends move on. Local."""
    for i in range(keys.shape[0]):
        slot = slots[i]
        if slot >= 0:
            out[ends[slot]] = keys[i]
            ends[slot] += 1


@compiled
def pick(segment: Keys, place: Int) -> Any:
    """Return the key at a place of the sorted segment, which is rearranged; equal keys share both halves. Local."""
    low, high = 0, segment.shape[0] - 1
    while low < high:
        pivot = segment[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while segment[i] < pivot:
                i += 1
            while segment[j] > pivot:
                j -= 1
            if i <= j:
                segment[i], segment[j] = segment[j], segment[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return segment[place]


@compiled
def pick_all(keys: Keys, starts: Ints, stops: Ints, places: Ints, out: Keys) -> None:
    """Pick from each of some segments. Local."""
    for i in range(starts.shape[0]):
        out[i] = pick(keys[starts[i] : stops[i]], places[i])


@compiled
def count_digits(keys: Keys, starts: Ints, stops: Ints, shift: Int, prefixes: Keys, counts: Array) -> None:
    """Count, for each segment, the digits of 8 bits behind a prefix. Local."""
    behind = shift + np.uint64(8)
    for i in range(starts.shape[0]):
        for j in range(starts[i], stops[i]):
            key = keys[j]
            # A shift by 64 bits is none.
            if shift == 56 or key >> behind == prefixes[i]:
                counts[i, (key >> shift) & 255] += 1
