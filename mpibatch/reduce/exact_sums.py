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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.reduce.arrays import FlatRows, chunks, pairs, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "INTEGER_PARTS",
    "PRODUCT_UNIT",
    "SUM_UNIT",
    "float_parts",
    "float_total",
    "integer_parts",
    "integer_total",
    "product_parts",
    "product_total",
    "ratio",
    "root",
    "rounded",
]

Parts = npt.NDArray[np.int64]

# 32-bit limbs of a sum of up to 2**64 integers of 64 bits.
INTEGER_PARTS = 4
# A total counts units of 2**-UNIT.
SUM_UNIT, PRODUCT_UNIT = 1074, 2148
# Elements: runs below this are cheaper to collect in a buffer than to visit one by one.
SHORT = 64


def float_parts(array: npt.NDArray[Any]) -> Parts:
    """Return the exact sum of a float array (f2, f4 or f8, any strides) as int64 parts. Local.

    Parts of several arrays are summed with ``+``: up to 2**30 of them without overflow.
    """
    # Late, because numba takes a second to load.
    from mpibatch.reduce._loops import exact_sums as loops

    parts = np.zeros(loops.PARTS, np.int64)
    runs = rows(array)
    if array.dtype.itemsize < 4:
        many: Iterator[FlatRows] = (rows(part.astype("f4")) for _, part in chunks(array))  # compiled code knows no f2
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
    from mpibatch.reduce._loops import exact_sums as loops

    special, total = float_total(parts)
    if special is not None:
        return special
    if total == 0 and parts[loops.NEGATIVE_ZERO] > 0 and parts[loops.OTHER] == 0:
        return -0.0
    return ratio(total, count << SUM_UNIT)


def float_total(parts: Parts) -> tuple[float | None, int]:
    """Return NaN or the infinity that `float_parts` hold, else None; and the sum of the others. Local."""
    from mpibatch.reduce._loops import exact_sums as loops

    return _special(parts[loops.NAN : loops.NAN + 3]), _integer(parts[: loops.LIMBS])


def product_parts(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Parts:
    """Return the exact sum of ``x * y``, two arrays of bool, integers or floats, as int64 parts. Local.

    Parts of several arrays are summed with ``+``: up to 2**30 of them without overflow.
    """
    from mpibatch.reduce._loops import products as loops

    parts = np.zeros(loops.PARTS, np.int64)
    for _, left, other in pairs(x, y):
        factors = _as_floats(left)
        for a, limb in factors:
            for b, other_limb in factors if x is y else _as_floats(other):
                loops.accumulate(a, b, limb + other_limb, parts)
    return parts


def _as_floats(part: npt.NDArray[Any]) -> list[tuple[npt.NDArray[np.float64], int]]:
    """Return arrays of f8, each with a power of 2**32, of which it is the exact sum. Local."""
    if part.dtype.kind == "f" or part.dtype.itemsize < 8:
        halves = [(part, 0)]
    else:
        halves = [(part & part.dtype.type(0xFFFFFFFF), 0), (part >> part.dtype.type(32), 1)]
    floats = [(half.astype("f8", copy=False), limb) for half, limb in halves]
    for half, _ in floats:
        half.flags.writeable = False  # one type for the compiler, whether it was copied or not
    return floats


def product_total(parts: Parts) -> tuple[float | None, int]:
    """Return NaN or the infinity that `product_parts` hold, else None; and the sum of the others. Local."""
    from mpibatch.reduce._loops import products as loops

    return _special(parts[loops.NAN : loops.NAN + 3]), _integer(parts[: loops.LIMBS])


def _special(marks: Parts) -> float | None:
    is_nan, plus, minus = (marks > 0).tolist()
    if is_nan or (plus and minus):
        return math.nan
    return math.inf if plus else -math.inf if minus else None


def _integer(limbs: Parts) -> int:
    total = 0
    for limb in reversed(limbs.tolist()):
        total = (total << 32) + limb
    return total


def ratio(numerator: int, denominator: int) -> float:
    """Return the f8 nearest to a quotient, ties to even; an infinity beyond the largest one. Local."""
    try:
        # Python's division of integers is correctly rounded, subnormal results included.
        return numerator / denominator
    except OverflowError:
        return math.inf if (numerator > 0) == (denominator > 0) else -math.inf


def root(numerator: int, denominator: int) -> float:
    """Return the f8 nearest to the square root of a quotient >= 0, ties to even. Local.

    An integer root of at least 64 bits, whose last bit says whether anything was left over, rounds as the real one.
    """
    if numerator == 0:
        return 0.0
    shift = max(0, 130 - numerator.bit_length() + denominator.bit_length())
    shift += shift & 1
    quotient, rest = divmod(numerator << shift, denominator)
    digits = math.isqrt(quotient)
    if rest or digits * digits != quotient:
        digits |= 1
    return ratio(digits, 1 << (shift >> 1))


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
