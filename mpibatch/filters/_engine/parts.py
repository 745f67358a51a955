"""Arrays, a few rows at a time: what works on whole arrays needs little memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parts"]

Array = npt.NDArray[Any]

CELLS = 1 << 16  # cells converted at a time, so that no second copy of the block is made


def parts(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield views of a few rows at a time of arrays of equally many rows. Local."""
    rows = arrays[0].shape[0]
    step = max(1, CELLS * rows // max(1, *(a.size for a in arrays)))
    for first in range(0, rows, step):
        yield tuple(a[first : first + step] for a in arrays)
