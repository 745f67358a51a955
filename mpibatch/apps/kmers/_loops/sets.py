"""Sets of 64-bit numbers: sorted, with counts, joined, and compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled_lean

__all__ = ["SPACE", "collapse", "count_shared", "join", "sort"]

Codes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

TOP = 11  # bits by which numbers are first parted: 2048 parts of a genome fit into the L1 cache, each of them
DIGIT = 8  # bits, at most, of a pass over such a part
FEW = 40  # numbers that are sorted faster by insertion
PASSES = 9
SPACE = ((1 << TOP) + 1, PASSES, 1 << DIGIT)  # of the counters


@compiled_lean
def _insert(values: Codes, low: int, high: int) -> None:
    for n in range(low + 1, high):
        value, place = values[n], n
        while place > low and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@compiled_lean
def sort(values: Codes, other: Codes, bits: int, ends: Counts, counts: Any) -> None:
    """Sort numbers of so many bits; `other` is space for as many. Local.

    By radix: parted once by the highest bits, which leaves the caches, and then digit by digit from the lowest within
    each part, which does not. `ends` and `counts` are space: int64 of SPACE[0], and int64 of SPACE[1:].
    """
    top = min(TOP, bits)
    shift, parts = np.uint64(bits - top), 1 << top
    for part in range(parts + 1):
        ends[part] = 0
    for n in range(values.size):
        ends[np.int64(values[n] >> shift) + 1] += 1
    for part in range(parts):
        ends[part + 1] += ends[part]
    # Where each part's next number goes; in the end, where the part ends.
    for n in range(values.size):
        key = np.int64(values[n] >> shift)
        other[ends[key]] = values[n]
        ends[key] += 1
    rest = bits - top
    passes = max((rest + DIGIT - 1) // DIGIT | 1, 1)  # odd, so that the last one ends in `values`
    width = (rest + passes - 1) // passes
    mask = np.uint64((1 << width) - 1)
    low = 0
    for part in range(parts):
        high = ends[part]
        if high - low <= FEW or width == 0:
            _insert(other, low, high)
            for n in range(low, high):
                values[n] = other[n]
        else:
            _sort_part(values, other, low, high, passes, width, mask, counts)
        low = high


@compiled_lean
def _sort_part(
    values: Codes, other: Codes, low: int, high: int, passes: int, width: int, mask: Any, counts: Any
) -> None:
    for turn in range(passes):
        for digit in range(1 << width):
            counts[turn, digit] = 0
    for n in range(low, high):
        value = other[n]
        for turn in range(passes):
            counts[turn, np.int64(value & mask)] += 1
            value >>= np.uint64(width)
    for turn in range(passes):
        place = low
        for digit in range(1 << width):
            count = counts[turn, digit]
            counts[turn, digit] = place
            place += count
        shift = np.uint64(turn * width)
        source, target = (values, other) if turn & 1 else (other, values)
        for n in range(low, high):
            value = source[n]
            key = np.int64((value >> shift) & mask)
            target[counts[turn, key]] = value
            counts[turn, key] += 1


@compiled_lean
def collapse(values: Codes, counts: Counts) -> Any:
    """Bring the different ones of sorted numbers to the front, and count each; return how many. Local."""
    size, before = 0, 0
    for n in range(1, values.size + 1):
        if n == values.size or values[n] != values[n - 1]:
            values[size] = values[n - 1]
            counts[size] = n - before
            size, before = size + 1, n
    return size


@compiled_lean
def join(a: Codes, of_a: Counts, b: Codes, of_b: Counts, out: Codes, of_out: Counts) -> Any:
    """Write the union of two sets, with the sums of their counts; return its size. Local."""
    i, j, size = 0, 0, 0
    while i < a.size or j < b.size:
        takes_a = j == b.size or (i < a.size and a[i] <= b[j])
        takes_b = i == a.size or (j < b.size and b[j] <= a[i])
        value, count = np.uint64(0), 0
        if takes_a:
            value, count = a[i], of_a[i]
            i += 1
        if takes_b:
            value, count = b[j], count + of_b[j]
            j += 1
        out[size], of_out[size] = value, count
        size += 1
    return size


@compiled_lean
def _count_shared(a: Codes, i: int, end: int, b: Codes, j: int, stop: int) -> Any:
    shared = 0
    while i < end and j < stop:
        x, y = a[i], b[j]
        shared += x == y
        i += x <= y
        j += y <= x
    return shared


@compiled_lean
def count_shared(a: Codes, b: Codes) -> Any:
    """Return how many numbers two sets have in common. Local.

    Without branches that depend on them; and in two halves at a time, so that the one is loaded while the other waits.
    """
    if a.size == 0:
        return 0
    middle, low, high = a.size // 2, 0, b.size
    while low < high:
        mean = (low + high) // 2
        if b[mean] < a[middle]:
            low = mean + 1
        else:
            high = mean
    i, j, k, n, shared = 0, 0, middle, low, 0
    while i < middle and j < low and k < a.size and n < b.size:
        x, y = a[i], b[j]
        shared += x == y
        i += x <= y
        j += y <= x
        x, y = a[k], b[n]
        shared += x == y
        k += x <= y
        n += y <= x
    return shared + _count_shared(a, i, middle, b, j, low) + _count_shared(a, k, a.size, b, n, b.size)
