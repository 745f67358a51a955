"""Casts that give every cell the same bits, wherever it stands in an array.

NumPy casts floats to integers by whatever the processor does, and for values that the integer cannot hold the vector
instructions and the scalar ones that finish a row differ. Here these values have a defined result, that of C's scalar
conversion on x86, which scipy.ndimage's `output=` has too: rounded toward zero, converted to a signed integer of 32
bits (of 64 for 32-bit unsigned and 64-bit types), and cut to the bits of the type. What that signed integer cannot
hold, NaN included, is its least value. `filters` has the same rule in its compiled loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError

__all__ = ["as_numbers", "cast"]

Array = npt.NDArray[Any]


def cast(values: Array, dtype: npt.DTypeLike) -> Array:
    """Return an array cast to `dtype`, as NumPy casts where NumPy's result is defined. Local.

    Parameters
    ----------
    values : array of any dtype.
    dtype : the dtype of the result.

    Returns
    -------
    An array of the same shape; `values` itself if it has that dtype.

    Raises
    ------
    UsageError
        If `values` are complex and `dtype` has no imaginary part.
    """
    target = np.dtype(dtype)
    if values.dtype.kind == "c" and target.kind in "iuf":
        raise UsageError(
            f"cannot cast {values.dtype} to {target}, which has no imaginary part; say which part you want: "
            "np.real(u), np.imag(u) or abs(u)"
        )
    if values.dtype.kind != "f" or target.kind not in "iu" or not values.size:
        return values.astype(target, copy=False)
    limits = np.iinfo(target)
    # In float64 limits of 64 bits round up to what is out of range: hence the strict comparison above.
    if float(values.min()) > limits.min - 1.0 and float(values.max()) < float(limits.max) and limits.bits < 64:
        return values.astype(target)
    if target == np.uint64:
        is_high = values >= 2.0**63
        low = _to_signed(np.where(is_high, values - values.dtype.type(2.0**63), values), np.dtype(np.int64))
        return low.view(np.uint64) ^ (is_high.astype(np.uint64) << np.uint64(63))
    signed = np.dtype(np.int64 if target.itemsize == 8 or target == np.uint32 else np.int32)
    return _to_signed(values, signed).astype(target)


def as_numbers(array: Array) -> Array:
    """Return an array itself, and bool seen as u1: what compiled loops and NumPy's sorting take. Local: no copy."""
    return array.view(np.uint8) if array.dtype == np.bool_ else array


def _to_signed(values: Array, signed: np.dtype[Any]) -> Array:
    bound = 2.0 ** (8 * signed.itemsize - 1)
    exact = values.astype(np.float64, copy=False)
    # Below: all of -bound - 1 < x are rounded to -bound or more; of 64 bits -bound itself is the next float there is.
    holds = (exact > -bound - 1 if signed.itemsize == 4 else exact >= -bound) & (exact < bound)
    whole: Array = np.where(holds, exact, 0.0).astype(signed)
    whole[~holds] = np.iinfo(signed).min
    return whole
