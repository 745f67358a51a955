"""Global raster indices of cells ("places"), and who owns them. Pure: int64 arithmetic on arrays, no messages."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.domain import Blocks, Box, Decomposition

__all__ = ["LARGE", "local_places", "owners", "places", "wide", "widened"]

Ints = npt.NDArray[np.int64]

# From this many cells on scipy numbers with 64 bits: labels of 32 could run out, with one more for "none".
LARGE = 2**31 - 2
_least = 0  # cells that every array passes for, at least


def wide(shape: tuple[int, ...]) -> bool:
    """Whether labels of an array of this shape have 64 bits. Local."""
    return max(math.prod(shape), _least) >= LARGE


@contextmanager
def widened(cells: int) -> Iterator[None]:
    """Within the block arrays have labels as of at least so many cells: those that a few cells stand for. Local."""
    global _least
    before, _least = _least, cells
    try:
        yield
    finally:
        _least = before


def places(shape: tuple[int, ...], box: Box, local: Ints) -> Ints:
    """Return the global raster indices of cells that have these raster indices in a box of a domain. Local."""
    rest = np.asarray(local, np.int64)
    result = np.zeros_like(rest)
    stride = 1
    for n, low, width in zip(reversed(shape), reversed(box.start), reversed(box.shape), strict=True):
        rest, index = np.divmod(rest, max(width, 1))
        result += (index + low) * stride
        stride *= n
    return result


def local_places(shape: tuple[int, ...], box: Box, place: Ints) -> Ints:
    """Return the raster indices in a box of cells of it that have these global ones. Local."""
    rest = np.asarray(place, np.int64)
    result = np.zeros_like(rest)
    stride = 1
    for n, low, width in zip(reversed(shape), reversed(box.start), reversed(box.shape), strict=True):
        rest, index = np.divmod(rest, n)
        result += (index - low) * stride
        stride *= width
    return result


def owners(decomposition: Decomposition, place: Ints) -> Ints:
    """Return the ranks that own the cells with these global raster indices. Local."""
    rest = np.asarray(place, np.int64)
    result = np.zeros_like(rest)
    stride = 1
    for blocks in reversed(decomposition.axes):
        rest, index = np.divmod(rest, blocks.cells)
        result += _blocks_of(blocks, index) * stride
        stride *= blocks.parts
    return result


def _blocks_of(blocks: Blocks, index: Ints) -> Ints:
    """Return the blocks that hold these indices of an axis, as `Blocks.owner` does. Local."""
    if blocks.starts is not None:
        return np.searchsorted(np.array(blocks.starts, np.int64), index, side="right") - 1
    size, extra = divmod(blocks.cells, blocks.parts)
    in_larger = extra * (size + 1)
    return np.where(index < in_larger, index // (size + 1), extra + (index - in_larger) // max(size, 1))
