"""The compiled loops of selection by digits: values as unsigned integers of the same order. Imported late: numba.

A key is a value's bits, turned so that keys order as values do: the sign bit of an integer is flipped, and a negative
float's bits are all flipped, as its magnitude counts backwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled

__all__ = ["FLOAT", "SIGNED", "UNSIGNED", "count_digits", "count_first_digits", "keep", "keep_first"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Int = Any

UNSIGNED, SIGNED, FLOAT = range(3)


@compiled
def key_of(bits: Int, kind: Int, sign: Int) -> Int:
    """Return the key of a value, from its bits; `sign` is the sign bit of its type. Local."""
    if kind == UNSIGNED:
        return bits
    if kind == FLOAT and (bits & sign) != 0:
        return ~bits & (sign | (sign - np.uint64(1)))
    return bits ^ sign


@compiled
def count_first_digits(part: Array, kind: Int, sign: Int, infinity: Int, shift: Int, counts: Ints) -> Int:
    """Count the leading digits of a part's keys; return how many of it are NaN, which are not counted. Local.

    Magnitudes above `infinity` are NaN.
    """
    nans = 0
    magnitude = sign - np.uint64(1)
    for i in range(part.shape[0]):
        bits = np.uint64(part[i])
        if kind == FLOAT and (bits & magnitude) > infinity:
            nans += 1
        else:
            counts[key_of(bits, kind, sign) >> shift] += 1
    return nans


@compiled
def keep_first(
    part: Array, kind: Int, sign: Int, infinity: Int, shift: Int, slots: Ints, out: Keys, ends: Ints
) -> None:
    """Append to `out` the keys whose leading digit has a slot >= 0, at that slot's end, which moves on. Local."""
    magnitude = sign - np.uint64(1)
    for i in range(part.shape[0]):
        bits = np.uint64(part[i])
        if kind == FLOAT and (bits & magnitude) > infinity:
            continue
        key = key_of(bits, kind, sign)
        slot = slots[key >> shift]
        if slot >= 0:
            out[ends[slot]] = key
            ends[slot] += 1


@compiled
def count_digits(keys: Keys, shift: Int, mask: Int, counts: Ints) -> None:
    """Count a digit of keys. Local."""
    for i in range(keys.shape[0]):
        counts[(keys[i] >> shift) & mask] += 1


@compiled
def keep(keys: Keys, shift: Int, mask: Int, digit: Int, out: Keys) -> None:
    """Write to `out` the keys with this digit. Local."""
    end = 0
    for i in range(keys.shape[0]):
        if ((keys[i] >> shift) & mask) == digit:
            out[end] = keys[i]
            end += 1
