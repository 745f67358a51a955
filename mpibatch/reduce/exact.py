"""The exact sum of an array of floats as integers that add up, and its one rounding.

A sum is kept as a fixed-point number that spans the whole range of f8 (a superaccumulator: U. Kulisch; R. M.
Neal, "Fast exact summation using small and large superaccumulators", arXiv:1505.05571,
doi:10.48550/arXiv.1505.05571), so that integer addition, in any order, combines the parts of all ranks. Blocks
reach it through slices of two whole numbers per element, cut off by adding and subtracting a large constant
(S. M. Rump, T. Ogita, S. Oishi, "Accurate floating-point summation part I", doi:10.1137/050645671); what two
slices of 103 bits do not hold goes to bins by exponent, as in Neal's large superaccumulator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.reduce.arrays import Rows, chunks, rows

__all__ = ["INTEGER_PARTS", "float_parts", "integer_parts", "integer_total", "rounded"]

Parts = npt.NDArray[np.int64]

# 32-bit limbs of a sum of up to 2**64 integers of 64 bits.
INTEGER_PARTS = 4
# Elements: runs below this are cheaper to collect in a buffer than to visit one by one.
SHORT = 64


def float_parts(array: npt.NDArray[Any]) -> Parts:
    """Return the exact sum of a float array (f2, f4 or f8, any strides) as int64 parts. Local.

    Parts of several arrays are summed with ``+``: up to 2**30 of them without overflow.
    """
    # Late, because numba takes a second to load.
    from mpibatch.reduce._loops import exact as loops

    parts = np.zeros(loops.PARTS, np.int64)
    runs = rows(array)
    if array.dtype.itemsize < 4:
        many: Iterator[Rows] = (rows(part.astype("f4")) for _, part in chunks(array))  # compiled code knows no f2
    elif runs.inner < SHORT:
        many = (rows(part) for _, part in chunks(array))
    else:
        many = iter([runs])
    for run in many:
        loops.accumulate(run.flat, run.outer, run.strides, run.inner, parts)
    return parts


def rounded(parts: Parts, count: int = 1) -> float:
    """Return what `parts` hold, divided by `count`, rounded once to the nearest f8, ties to even. Local.

    NaN if any addend was NaN or infinities of both signs occurred; an infinity if one sign did, or if the exact
    result is too large for f8; -0.0 if every addend was -0.0 (at least one), else 0.0 for a zero sum.
    """
    from mpibatch.reduce._loops import exact as loops

    plus, minus = parts[loops.POSITIVE_INFINITY] > 0, parts[loops.NEGATIVE_INFINITY] > 0
    if parts[loops.NAN] > 0 or (plus and minus):
        return math.nan
    if plus or minus:
        return math.inf if plus else -math.inf
    total = 0
    for limb in reversed(parts[: loops.LIMBS].tolist()):
        total = (total << 32) + limb
    if total == 0 and parts[loops.NEGATIVE_ZERO] > 0 and parts[loops.OTHER] == 0:
        return -0.0
    try:
        # Python's division of integers is correctly rounded, subnormal results included.
        return total / (count << 1074)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def integer_parts(array: npt.NDArray[Any]) -> Parts:
    """Return the exact sum of a bool or integer array as `INTEGER_PARTS` int64 parts that add up. Local."""
    total = 0
    wide = np.uint64 if array.dtype.kind in "bu" else np.int64
    for _, part in chunks(array):
        if array.dtype.itemsize < 8:
            total += int(part.sum(dtype=wide))
        else:
            total += int((part & wide(0xFFFFFFFF)).sum()) + (int((part >> wide(32)).sum()) << 32)
    limbs = [(total >> (32 * i)) & 0xFFFFFFFF for i in range(INTEGER_PARTS - 1)]
    return np.array([*limbs, total >> (32 * (INTEGER_PARTS - 1))], np.int64)


def integer_total(parts: Parts) -> int:
    """Return the integer that (sums of) `integer_parts` stand for. Local."""
    return sum(limb << (32 * i) for i, limb in enumerate(parts.tolist()))
