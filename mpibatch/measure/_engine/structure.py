"""Which cells are neighbors: scipy's structures, as the offsets to those neighbors that come earlier. Pure."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError

__all__ = ["backward", "has_corners", "joins_rows", "mask_of", "steps_of"]

Offset = tuple[int, ...]


def mask_of(call: str, structure: Any, ndim: int) -> npt.NDArray[np.bool_]:
    """Return a structure as a bool array, faces only by default; UsageError unless it is a symmetric one. Local."""
    if structure is None:
        distance = np.abs(np.indices((3,) * ndim) - 1).sum(axis=0)
        return np.asarray(distance <= 1)
    try:
        given = np.asarray(structure)
        mask = given != 0
    except (TypeError, ValueError):
        raise UsageError(f"{call}: structure={structure!r} is no array; give one of shape {(3,) * ndim}") from None
    if given.dtype.kind not in "biuf" or given.shape != (3,) * ndim:
        raise UsageError(
            f"{call}: the structure has shape {given.shape} and dtype {given.dtype}, and the grid {ndim} axes; "
            f"give numbers or bool of shape {(3,) * ndim}"
        )
    if not np.array_equal(mask, np.flip(mask)):
        raise UsageError(
            f"{call}: the structure {given.tolist()} is not symmetric: a cell would be another's neighbor, and that "
            "one not its own; give one that is equal to itself flipped along all axes"
        )
    return np.asarray(mask)


def backward(mask: npt.NDArray[np.bool_]) -> list[Offset]:
    """Return the offsets to the neighbors that come before a cell in raster order. Local."""
    every = itertools.product((-1, 0, 1), repeat=mask.ndim)
    return [offset for offset in every if offset < (0,) * mask.ndim and mask[tuple(d + 1 for d in offset)]]


def has_corners(offsets: list[Offset]) -> bool:
    """Whether any neighbor lies off the cell along more than one axis. Local."""
    return any(sum(map(abs, offset)) > 1 for offset in offsets)


def joins_rows(offsets: list[Offset]) -> bool:
    """Whether neighbors within a row belong together. Local."""
    return any(not any(offset[:-1]) for offset in offsets)


def steps_of(offsets: list[Offset]) -> npt.NDArray[np.int64]:
    """Return (three offsets to an earlier row, the least and the greatest within it) for each interval. Local."""
    steps = []
    for outer, group in itertools.groupby(sorted(offsets), key=lambda offset: offset[:-1]):
        if not any(outer):
            continue
        along = [offset[-1] for offset in group]
        rows = (0,) * (3 - len(outer)) + outer
        # A structure may have both diagonals without what lies between.
        pieces = [[-1, -1], [1, 1]] if along == [-1, 1] else [[along[0], along[-1]]]
        steps += [[*rows, *piece] for piece in pieces]
    return np.array(steps, np.int64).reshape(-1, 5)
