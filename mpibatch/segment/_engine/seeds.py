"""Markers where none are given: about so many, evenly spread, as scikit-image places them. Local."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["regular_seeds"]

Ints = npt.NDArray[np.int64]


def _steps(shape: tuple[int, ...], points: int) -> list[tuple[int, int]]:
    """Return for each axis the first index of a seed, and how far it is to the next. Local.

    The distance is the same along all axes, but for those too short for it, which get one seed.
    """
    if math.prod(shape) <= points:
        return [(0, 1)] * len(shape)
    order = np.argsort(shape)
    extents = np.array(shape, np.float64)[order]
    distances = np.full(len(shape), (extents.prod() / points) ** (1.0 / len(shape)))
    for axis in range(len(shape)):
        if (extents >= distances).all():
            break
        distances[axis] = extents[axis]
        longer = len(shape) - axis - 1
        if longer:
            distances[axis + 1 :] = (float(extents[axis + 1 :].prod()) / points) ** (1.0 / longer)
    # scikit-image puts the extents in order by the ranks of their ranks, and back by the same.
    back = np.argsort(order)
    return [(int(distances[i] // 2), max(1, round(float(distances[i])))) for i in back]


def regular_seeds(grid: Grid, points: int) -> Ints:
    """Return the numbers of about so many evenly spread cells, in raster order from 1, over the owned ones. Local."""
    numbers: Any = np.zeros((), np.int64)
    is_seed: Any = np.ones((), np.bool_)
    for n, low, high, (first, step) in zip(
        grid.shape, grid.box.start, grid.box.stop, _steps(grid.shape, points), strict=True
    ):
        index, rest = np.divmod(np.arange(low, high) - first, step)
        count = len(range(first, n, step))
        numbers = numbers[..., None] * count + index
        is_seed = is_seed[..., None] & (index >= 0) & (rest == 0)
    return np.where(is_seed, numbers + 1, 0)
