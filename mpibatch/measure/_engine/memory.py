"""A block's cells as compiled loops walk through them: tile by tile, rows of one flat view of few types."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.domain import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["flat_rows", "outer_shape", "signed", "tiles", "widened"]

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


def widened(owned: Array) -> Array:
    """Return values as one of the three types that loops are compiled for: f8, int64 or uint64. Local."""
    if owned.dtype.kind == "f":
        return owned.astype("f8", copy=False)
    return owned.astype("u8" if owned.dtype == np.uint64 else "i8", copy=False)


def signed(owned: Array) -> Array:
    """Return labels as one of the two types that loops are compiled for. Local."""
    return owned.astype("i4" if owned.dtype.itemsize < 4 or owned.dtype == np.int32 else "i8", copy=False)


def tiles(box: Box, side: int) -> Iterator[Box]:
    """Cut a box into parts of at most so many cells along each axis; a box without cells into none. Local."""
    for start in itertools.product(*(range(low, high, side) for low, high in zip(box.start, box.stop, strict=True))):
        yield Box(start, tuple(min(low + side, high) for low, high in zip(start, box.stop, strict=True)))
