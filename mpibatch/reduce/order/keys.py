"""Keys: integers of 64 bits that order as values do, so that ranks settle extremes and medians without rounding.

-0.0 is below 0.0. NaN has the greatest key of all, also in the order that is reversed by ``~``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FIRST", "LAST", "keys_of", "values_of"]

Array = npt.NDArray[Any]
Keys = npt.NDArray[np.int64]

# Also the key of NaN: above infinity's, and no float's own bit pattern when taken as a magnitude.
LAST = (1 << 63) - 1
# Below the key of any float: that of no elements.
FIRST = -(1 << 63)
SIGN = np.uint64(1 << 63)


def keys_of(values: Array, *, largest: bool = True) -> Keys:
    """Return integers that order as the values do; unless `largest`, reversed, for a search for the least. Local."""
    if values.dtype.kind == "f":
        bits = np.ascontiguousarray(values, "f8").view(np.int64).reshape(values.shape)
        # A negative float's bits count its magnitude: reversed, and below +0.0, -0.0 comes out as -1.
        keys = np.where(bits >= 0, bits, bits ^ LAST)
        return np.where(values == values, keys if largest else ~keys, LAST)
    keys = (values ^ SIGN).view(np.int64) if values.dtype == np.uint64 else values.astype(np.int64)
    return keys if largest else ~keys


def values_of(keys: Keys, dtype: np.dtype[Any], *, largest: bool = True) -> Array:
    """Return the values of a dtype that have these keys. Local."""
    ascending = np.ascontiguousarray(keys if largest else ~keys).reshape(keys.shape)
    if dtype.kind == "f":
        floats = np.where(ascending >= 0, ascending, ascending ^ LAST).view(np.float64)
        return np.asarray(np.where(keys == LAST, np.nan, floats).astype(dtype))
    if dtype == np.uint64:
        return np.asarray(ascending.view(np.uint64) ^ SIGN)
    return ascending.astype(dtype)
