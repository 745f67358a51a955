"""A block's cells as compiled loops walk through them: rows of one flat view."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["flat_rows", "outer_shape"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


def flat_rows(array: Array) -> tuple[Array, Ints]:
    """Return cells that are not empty in one flat read-only view, and the strides of the axes before the last. Local.

    Row (i, j, k) begins at their product with these; arrays of fewer than four axes have strides 0 in front.
    """
    apart = [stride // array.itemsize for stride in array.strides]
    span = 1 + sum((n - 1) * stride for n, stride in zip(array.shape, apart, strict=True))
    flat = np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,), writeable=False)
    return flat, np.array([0] * (4 - array.ndim) + apart[:-1], np.int64)


def outer_shape(array: Array) -> Ints:
    """Return the shape without the last axis, as three numbers. Local."""
    return np.array((1,) * (4 - array.ndim) + array.shape[:-1], np.int64)
