"""Whole numbers of any size as rows of int64 limbs that add up: limb i counts units of 2**(32 i).

Limbs of sums are added one by one, in any order; carried, all but the last are 0 ... 2**32 - 1, and the last has the
sign. So some 2**30 numbers can be added before a limb overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["add_product", "carried", "integers", "ratios"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

MASK = 0xFFFFFFFF
EXACT = 2**53  # whole numbers up to this one are exact in f8, so that NumPy's division of them is rounded once


def carried(limbs: Ints) -> Ints:
    """Return the same numbers, carried; the last axis is that of limbs. Local."""
    result = limbs.copy()
    for i in range(limbs.shape[-1] - 1):
        result[..., i + 1] += result[..., i] >> 32
        result[..., i] &= MASK
    return result


def add_product(target: Ints, limbs: Ints, factor: int) -> None:
    """Add ``factor`` times carried numbers, whose last limb is 0 or -1, to others; factor >= 0. Local.

    Limbs of the product beyond those of the target must be zero, or the sign's.
    """
    width = target.shape[-1]
    for j in range((factor.bit_length() + 31) // 32):
        part = (factor >> (32 * j)) & MASK
        for i in range(min(limbs.shape[-1], width - j)):
            if i == limbs.shape[-1] - 1:
                target[..., i + j] += limbs[..., i] * part
                continue
            product = limbs[..., i].astype(np.uint64) * np.uint64(part)
            target[..., i + j] += (product & np.uint64(MASK)).astype(np.int64)
            if i + j + 1 < width:
                target[..., i + j + 1] += (product >> np.uint64(32)).astype(np.int64)


def integers(limbs: Ints) -> Array:
    """Return the numbers: int64 if there is but one limb, else Python's in an object array. Local."""
    if limbs.shape[-1] == 1:
        return limbs[..., 0]
    result = limbs[..., -1].astype(object)
    for i in range(limbs.shape[-1] - 2, -1, -1):
        result = result * (MASK + 1) + limbs[..., i]
    return np.asarray(result, object)


def ratios(numerators: Array, denominators: Array, shift: int = 0) -> npt.NDArray[np.float64]:
    """Return the quotients of whole numbers, times ``2**shift``, each rounded once; NaN where one is by 0. Local."""
    if not shift and numerators.dtype != object and denominators.dtype != object:
        sizes = (np.abs(values).max(initial=0) for values in (numerators, denominators))
        if all(size <= EXACT for size in sizes):
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(denominators == 0, np.nan, numerators / denominators) + 0.0
    pairs = zip(numerators.tolist(), denominators.tolist(), strict=True)
    return np.array([_ratio(above, below, shift) for above, below in pairs], np.float64) + 0.0  # no -0.0


def _ratio(above: int, below: int, shift: int) -> float:
    if below == 0:
        return float("nan")
    above, below = (above << shift, below) if shift >= 0 else (above, below << -shift)
    try:
        return above / below  # Python rounds the quotient of integers once
    except OverflowError:
        return float("inf") if (above > 0) == (below > 0) else float("-inf")
